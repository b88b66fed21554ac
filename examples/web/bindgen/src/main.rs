//! `wgpu-norm-web-bindgen MODULE.wasm FOLDER`: an ES module that loads the WebAssembly, beside it in the folder.

use wasm_bindgen_cli_support::Bindgen;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, folder] = arguments.as_slice() else {
        eprintln!("usage: wgpu-norm-web-bindgen MODULE.wasm FOLDER");
        return 2.into();
    };
    let mut bindgen = Bindgen::new();
    let made = bindgen.input_path(module).web(true).map(|bindgen| {
        bindgen.typescript(false).remove_name_section(true).omit_default_module_path(false).out_name("wgpu_norm")
    });
    match made.and_then(|bindgen| bindgen.generate(folder)) {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            1.into()
        }
    }
}
