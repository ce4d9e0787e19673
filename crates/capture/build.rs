//! Compiles `bpf/` with clang: once with what Linux 5.12 and newer have, once for 5.10. The Rust types of records and maps come
//! from the BTF of the first.

use std::env;
use std::error::Error;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../bpf");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let source = root.join("qtap.bpf.c");
    let include = format!("-I{}", root.display());
    let arguments = [include.as_str(), "-mcpu=v3", "-Wall", "-Werror"];

    let mut builder = SkeletonBuilder::new();
    builder
        .source(&source)
        .obj(out.join("qtap.bpf.o"))
        .clang_args(arguments);
    if let Some(clang) = env::var_os("CLANG") {
        builder.clang(clang);
    }
    builder.build()?;
    builder.generate(out.join("qtap.skel.rs"))?;
    builder
        .obj(out.join("qtap-5.10.bpf.o"))
        .clang_args(arguments.iter().copied().chain(["-DQTAP_LEGACY"]))
        .build()?;

    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rerun-if-changed={}", root.display());
    Ok(())
}
