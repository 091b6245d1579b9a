#!/usr/bin/env bash
# Fetches the data sets that the examples know, without root.
#
#   ./download_data.sh fashion-mnist [MIRROR]       four IDX files: from Debian's package dataset-fashion-mnist, or from
#                                                   MIRROR/train-images-idx3-ubyte.gz and so on
#   ./download_data.sh libsvm URL [SHA256]          one file in libsvm's format, such as MNIST; .bz2, .gz and .xz are unpacked
#
# Data go to $DATA_DIR (data/ by default). What is there already and whole is not fetched again.
set -euo pipefail

readonly DATA_DIR="${DATA_DIR:-data}"
# Of the unpacked files: the same bytes, however a mirror has packed them.
readonly FASHION_MNIST="
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b  t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34  t10k-labels-idx1-ubyte
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888  train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9  train-labels-idx1-ubyte
"

fail() {
    echo "$*" >&2
    exit 1
}

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

fetch() {  # URL FILE
    if command -v curl >/dev/null; then
        curl --fail --location --silent --show-error --output "$2" "$1"
    else
        python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' "$1" "$2"
    fi
}

# Lists the Fashion-MNIST files that a folder does not hold, or holds with other bytes.
damaged() {
    local sum name
    while read -r sum name; do
        [ -n "$name" ] || continue
        if [ ! -s "$1/$name.gz" ] || [ "$(gzip -dc "$1/$name.gz" 2>/dev/null | sha256)" != "$sum" ]; then
            echo "$name.gz"
        fi
    done <<<"$FASHION_MNIST"
}

from_debian() {  # FOLDER
    local installed=/usr/share/datasets/fashion-mnist
    if [ -d "$installed" ]; then
        cp "$installed"/*.gz "$1/"
        return
    fi
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
        fail "No Debian here to take dataset-fashion-mnist from. Name a mirror: $0 fashion-mnist https://..."
    # Downloads into the current folder, as any user.
    (cd "$scratch" && apt-get download --quiet dataset-fashion-mnist >&2) ||
        fail "apt-get cannot download dataset-fashion-mnist: run 'apt-get update' as root, or name a mirror: $0 fashion-mnist https://..."
    dpkg-deb --extract "$scratch"/dataset-fashion-mnist_*.deb "$scratch/package"
    cp "$scratch/package$installed"/*.gz "$1/"
}

fashion_mnist() {
    local mirror=${1:-} folder="$DATA_DIR/fashion-mnist" fresh="$scratch/fashion-mnist" name bad
    if [ -d "$folder" ] && [ -z "$(damaged "$folder")" ]; then
        echo "$folder is there already."
        return
    fi
    mkdir -p "$fresh" "$DATA_DIR"
    if [ -n "$mirror" ]; then
        for name in $(damaged "$fresh"); do fetch "${mirror%/}/$name" "$fresh/$name"; done
    else
        from_debian "$fresh"
    fi
    bad=$(damaged "$fresh")
    [ -z "$bad" ] || fail "Not the files that were expected (their sha256 differs): $bad. Nothing was kept."
    rm -rf "$folder"
    mv "$fresh" "$folder"
    echo "$folder: 60,000 training and 10,000 test images."
}

libsvm() {
    local url=${1:-} wanted=${2:-} name sum
    [ -n "$url" ] || fail "A URL is needed: $0 libsvm URL [SHA256]"
    name=$(basename "${url%%\?*}")
    fetch "$url" "$scratch/$name"
    sum=$(sha256 <"$scratch/$name")
    if [ -n "$wanted" ] && [ "$sum" != "$wanted" ]; then
        fail "$name has sha256 $sum, and $wanted was expected. Nothing was kept."
    fi
    case $name in
        *.bz2) bzip2 -d "$scratch/$name" && name=${name%.bz2} ;;
        *.gz) gzip -d "$scratch/$name" && name=${name%.gz} ;;
        *.xz) xz -d "$scratch/$name" && name=${name%.xz} ;;
    esac
    mkdir -p "$DATA_DIR"
    mv "$scratch/$name" "$DATA_DIR/$name"
    echo "$DATA_DIR/$name (sha256 of the download: $sum)"
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
case ${1:-} in
    fashion-mnist) fashion_mnist "${2:-}" ;;
    libsvm) libsvm "${2:-}" "${3:-}" ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
