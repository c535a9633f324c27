// kubectl-sandbox is what kubectl lacks for sandboxes: kubectl finds it on the PATH as `kubectl sandbox`.
package main

import (
	"os"
	"path/filepath"
	"strings"

	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"sandbox-apiserver.local/clients/kubectl-sandbox/internal/cmd"
)

func main() {
	args := os.Args[1:]
	// kubectl asks an executable of this name for completions.
	if strings.HasPrefix(filepath.Base(os.Args[0]), "kubectl_complete-") {
		args = append([]string{"__complete"}, args...)
	}
	root := cmd.New(os.Stdin, os.Stdout, os.Stderr)
	root.SetArgs(args)
	cmdutil.CheckErr(root.Execute())
}
