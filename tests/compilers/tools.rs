//! The compilers beside naga. Each is found or said to be missing, with what it takes to have it.

use crate::naga_writers::Hlsl;
use hassle_rs::{Dxc, DxcCompiler, DxcLibrary};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Says on the terminal, whether or not the test's output is kept, what was compiled or could not be.
pub(crate) fn say(what: &str) {
    // Only print!'s output is captured.
    writeln!(std::io::stderr(), "{what}").expect("standard error takes a line");
}

/// A compiler, or a line that it is missing; a failure where all of them are asked for.
pub(crate) fn found<T>(compiler: &str, search: Result<T, String>) -> Option<T> {
    search
        .map_err(|reason| {
            let missing = format!("NOT INSTALLED: {compiler}: {reason}; nothing is compiled with it");
            assert!(std::env::var("WGPU_NORM_COMPILERS").as_deref() != Ok("all"), "{missing}");
            say(&missing);
        })
        .ok()
}

/// The folder or file that a variable names.
pub(crate) fn named_by(variable: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os(variable).ok_or_else(|| format!("{variable} is not set"))?;
    let path = PathBuf::from(path);
    if path.exists() { Ok(path) } else { Err(format!("{variable} names {}, which is not there", path.display())) }
}

/// A program that takes a shader from standard input.
pub(crate) struct Program {
    name: &'static str,
    pub(crate) version: String,
}

impl Program {
    pub(crate) fn find(name: &'static str, package: &str) -> Result<Self, String> {
        let output = Command::new(name)
            .arg("--version")
            .output()
            .map_err(|error| format!("{error} (Debian's package {package})"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or_default().to_owned();
        Ok(Self { name, version })
    }

    pub(crate) fn check(&self, arguments: &[&str], shader: &[u8]) -> Result<(), String> {
        let mut child = Command::new(self.name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.name))?;
        // A program that has seen enough closes its end; its status tells.
        let _ = child.stdin.take().expect("it is piped").write_all(shader);
        let output = child.wait_with_output().map_err(|error| format!("{}: {error}", self.name))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(format!("{}: {}", self.name, String::from_utf8_lossy(&said)))
    }
}

/// Validates SPIR-V under the rules of the Vulkan that it is for.
pub(crate) fn check_spirv(validator: &Program, words: &[u32], newer: bool) -> Result<(), String> {
    let environment = if newer { "vulkan1.3" } else { "vulkan1.1" };
    validator.check(&["--target-env", environment, "-"], bytemuck::cast_slice(words))
}

/// Compiles GLSL ES as a compute shader.
pub(crate) fn check_glsl(compiler: &Program, source: &str) -> Result<(), String> {
    compiler.check(&["--stdin", "-S", "comp"], source.as_bytes())
}

/// Microsoft's compiler of HLSL, a library.
pub(crate) struct DirectX {
    compiler: DxcCompiler,
    library: DxcLibrary,
    _loaded: Dxc,
}

impl DirectX {
    pub(crate) fn find() -> Result<Self, String> {
        let path = named_by("WGPU_NORM_DXC").map_err(|error| format!("{error} (to a libdxcompiler.so)"))?;
        let open = || -> hassle_rs::Result<Self> {
            let loaded = Dxc::new(Some(path.clone()))?;
            Ok(Self { compiler: loaded.create_compiler()?, library: loaded.create_library()?, _loaded: loaded })
        };
        open().map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The name and version that the compiler leaves in what it makes.
    pub(crate) fn version(&self) -> String {
        let empty = "[numthreads(1, 1, 1)] void main() {}".to_owned();
        let shader = Hlsl { source: empty, entry_point: "main".into(), profile: "cs_6_0", has_f16: false };
        let text = self.disassembled(&shader).expect("an empty shader compiles");
        let mark = text.split('"').find(|part| part.starts_with("dxc")).unwrap_or("of a version it does not name");
        mark.to_owned()
    }

    pub(crate) fn check(&self, shader: &Hlsl) -> Result<(), String> {
        self.compile(shader).map(|_| ())
    }

    /// What the compiler makes of a shader, as text.
    pub(crate) fn disassembled(&self, shader: &Hlsl) -> Result<String, String> {
        let made = self.compile(shader)?;
        let text = self.compiler.disassemble(&made).and_then(|blob| self.library.get_blob_as_string(&blob.into()));
        text.map_err(|error| format!("DXC: {error}"))
    }

    fn compile(&self, shader: &Hlsl) -> Result<hassle_rs::DxcBlob, String> {
        // wgpu-hal's arguments.
        let mut arguments = vec!["-HV", "2018", "-no-warnings", "-Ges"];
        if shader.has_f16 {
            arguments.push("-enable-16bit-types");
        }
        let said = |error| format!("DXC: {error}");
        let source = self.library.create_blob_with_encoding_from_str(&shader.source).map_err(said)?;
        let entry = &shader.entry_point;
        match self.compiler.compile(&source, "shader.hlsl", entry, shader.profile, &arguments, None, &[]) {
            Ok(result) => result.get_result().map_err(said),
            Err((result, _)) => {
                let errors = result.get_error_buffer().and_then(|b| self.library.get_blob_as_string(&b.into()));
                Err(format!("DXC: {}", errors.map_err(said)?))
            }
        }
    }
}
