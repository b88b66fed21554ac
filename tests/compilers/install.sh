# Installs the compilers beside naga that tests/compilers hands shaders to, and tells it where they are; to be sourced
# after tests/install.sh. They take up some 250 MB in a temporary folder.

missing=()
command -v spirv-val > /dev/null || missing+=(spirv-tools)
command -v glslangValidator > /dev/null || missing+=(glslang-tools)
command -v node > /dev/null || missing+=(nodejs)
command -v npm > /dev/null || missing+=(npm)
python3 -m pip --version > /dev/null 2>&1 || missing+=(python3-pip)
if [ "${#missing[@]}" != 0 ]; then
    install tests/compilers "${missing[*]}" "${missing[@]}"
fi
compilers=$(mktemp -d)

# Tint is in Dawn's package for Node.
npm install --silent --ignore-scripts --no-audit --no-fund --prefix "$compilers" webgpu@0.6.2
# Microsoft's own builds of DXC for Linux are in no registry; this package of Python's carries one as it is.
echo "compushady-lrtu==0.18.0 --hash=sha256:b76371972f2543a1e83034a86c83cfad678dabf66be0b50b7d78edbcb1c98243" > "$compilers/dxc.txt"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --python-version 3.11 --platform manylinux_2_28_x86_64 --dest "$compilers" --requirement "$compilers/dxc.txt"
python3 -m zipfile -e "$compilers"/compushady_lrtu-*.whl "$compilers/dxc"

export WGPU_NORM_TINT="$compilers"
export WGPU_NORM_DXC="$compilers/dxc/compushady/backends/libdxcompiler_x86_64.so"
export WGPU_NORM_COMPILERS=all
