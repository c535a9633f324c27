#!/usr/bin/env bash
# Makes what is derived from the types: deep copies, clientset, listers, informers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

module=sandbox-apiserver.local/clients/go
types=$module/apis/sandbox/v1beta1
header=hack/header.txt

rm -rf clientset listers informers apis/sandbox/v1beta1/zz_generated.*
go tool deepcopy-gen --go-header-file "$header" --output-file zz_generated.deepcopy.go "$types"
go tool client-gen --go-header-file "$header" --clientset-name versioned --input-base "" \
  --input "$types" --output-dir clientset --output-pkg "$module/clientset"
go tool lister-gen --go-header-file "$header" --output-dir listers --output-pkg "$module/listers" "$types"
go tool informer-gen --go-header-file "$header" --output-dir informers --output-pkg "$module/informers" \
  --versioned-clientset-package "$module/clientset/versioned" --listers-package "$module/listers" "$types"
