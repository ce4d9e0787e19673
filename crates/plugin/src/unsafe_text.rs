//! Characters that must not reach a terminal from a peer.

/// Control characters (C0, DEL, C1), line and paragraph separators, and the bidirectional and invisible format
/// characters with which text can be made to look like other text.
pub(crate) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}
