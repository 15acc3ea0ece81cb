#!/usr/bin/env bash
# Build the image that serves with Triton and reports to Application Insights.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: ./build.sh [OPTION...] IMAGE_NAME IMAGE_VERSION

Builds IMAGE_NAME:IMAGE_VERSION from container/Dockerfile and tags it
IMAGE_NAME:latest too. No other image is touched.

  --target receiver   the receiver alone, for a Prometheus that is already there
  --triton IMAGE      Triton's image   (default: what container/Dockerfile says,
  --prometheus IMAGE  Prometheus' image           likewise)
  --receiver IMAGE    Debian or Ubuntu under `--target receiver`
  --platform NAME     linux/amd64 or linux/arm64   (default: this machine's)
  --sbom FILE         write the image's bill of materials there too (CycloneDX)
  -- ARGUMENT...      the rest goes to `docker build`, before the names

For example:

  ./build.sh triton-appinsights 1.0
  ./build.sh --triton nvcr.io/nvidia/tritonserver:26.01-py3 triton-appinsights 1.0

Then: docker run --rm -p8000:8000 -p8001:8001 -p8002:8002 -p9090:9090 \
        --env APPLICATIONINSIGHTS_CONNECTION_STRING='InstrumentationKey=…' IMAGE_NAME
TEXT
}

fail() {
    printf 'build.sh: %s\n' "$1" >&2
    exit 1
}

target=triton sbom=
options=()
names=()
while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --target | --triton | --prometheus | --receiver | --platform | --sbom)
            (($# > 1)) || fail "$1 wants a value"
            case $1 in
                --target) target=$2 ;;
                --triton) options+=(--build-arg "TRITON_IMAGE=$2") ;;
                --prometheus) options+=(--build-arg "PROMETHEUS_IMAGE=$2") ;;
                --receiver) options+=(--build-arg "RECEIVER_IMAGE=$2") ;;
                --platform) options+=(--platform "$2") ;;
                --sbom) sbom=$(realpath --canonicalize-missing "$2") ;;
            esac
            shift 2
            ;;
        --) shift; options+=("$@"); break ;;
        -*) usage >&2; fail "there is no option $1" ;;
        *) names+=("$1"); shift ;;
    esac
done
if ((${#names[@]} != 2)); then
    usage >&2
    exit 2
fi
name=${names[0]} version=${names[1]}
[[ $target == triton || $target == receiver ]] || fail "there is no target $target: triton or receiver"
[[ $version =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]] || fail "\"$version\" can't be an image's version (a tag)"

command -v docker >/dev/null || fail "docker is not installed: see https://docs.docker.com/engine/install/"
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
    fail "docker doesn't answer. Is its daemon running, and may $(id -un) use it? Try: docker version"

cd "$(dirname "${BASH_SOURCE[0]}")"
revision=$(git rev-parse --verify --quiet HEAD 2>/dev/null || echo unknown)
if [[ $revision != unknown && -n $(git status --porcelain 2>/dev/null) ]]; then
    revision+=-dirty
fi

# Where the source is, without the name and password that an address may hold.
source=$(git remote get-url origin 2>/dev/null | sed -nE 's#^https?://([^/@]*@)?#https://#p' || true)

docker build --file container/Dockerfile --target "$target" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "SOURCE=$source" \
    --tag "$name:$version" --tag "$name:latest" \
    ${options[@]+"${options[@]}"} .
if [[ -n $sbom ]]; then
    container=$(docker create "$name:$version")
    docker cp "$container:/usr/share/doc/appinsights-receiver/sbom.cdx.json" "$sbom" >/dev/null
    docker rm "$container" >/dev/null
    printf '\nIts bill of materials is in %s.\n' "$sbom"
fi
printf '\nBuilt %s:%s, also tagged %s:latest.\n' "$name" "$version" "$name"
