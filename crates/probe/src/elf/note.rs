//! Notes: the build id.

use super::parser::u32_at;
use crate::identity::BuildId;

const NT_GNU_BUILD_ID: u32 = 3;

/// Finds the build id among `notes`; `align` is the alignment of their segment.
pub(super) fn build_id(notes: &[u8], align: u64) -> Option<BuildId> {
    let align = if align == 8 { 8 } else { 4 };
    let mut rest = notes;
    while rest.len() >= 12 {
        let (name_size, desc_size) = (u32_at(rest, 0) as usize, u32_at(rest, 4) as usize);
        let desc_start = 12usize.checked_add(name_size)?.checked_next_multiple_of(align)?;
        let desc_end = desc_start.checked_add(desc_size)?;
        let desc = rest.get(desc_start..desc_end)?;
        if u32_at(rest, 8) == NT_GNU_BUILD_ID
            && rest.get(12..16) == Some(b"GNU\0")
            && (1..=64).contains(&desc.len())
        {
            return Some(BuildId(desc.to_vec()));
        }
        rest = rest.get(desc_end.checked_next_multiple_of(align)?..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_id_is_found_behind_another_note() {
        let mut notes = Vec::new();
        for (kind, desc) in [(5u32, vec![1u8; 16]), (3, vec![0xab; 20])] {
            notes.extend_from_slice(&4u32.to_le_bytes());
            notes.extend_from_slice(&u32::try_from(desc.len()).unwrap().to_le_bytes());
            notes.extend_from_slice(&kind.to_le_bytes());
            notes.extend_from_slice(b"GNU\0");
            notes.extend_from_slice(&desc);
        }
        assert_eq!(build_id(&notes, 4), Some(BuildId(vec![0xab; 20])));
        notes.truncate(notes.len() - 1);
        assert_eq!(build_id(&notes, 4), None, "a cut note is no note");
    }
}
