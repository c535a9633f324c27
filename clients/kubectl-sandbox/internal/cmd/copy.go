package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"sandbox-apiserver.local/clients/go/sandbox"
)

// remote is NAME:PATH.
type remote struct{ name, path string }

// parsePlace tells a path in a sandbox from one here. What begins with a dot or a slash is here.
func parsePlace(text string) (remote, bool, error) {
	name, path, found := strings.Cut(text, ":")
	if !found || strings.HasPrefix(text, ".") || strings.HasPrefix(text, "/") {
		return remote{path: text}, false, nil
	}
	if name == "" || path == "" {
		return remote{}, false, fmt.Errorf("%q is neither a local path nor NAME:PATH", text)
	}
	return remote{name, path}, true, nil
}

func newCopy(p *plugin) *cobra.Command {
	var container string
	cmd := &cobra.Command{
		Use:     "cp SRC DST",
		Aliases: []string{"copy"},
		Short:   "Copy files into a sandbox and out of it",
		Long: `Copy files into a sandbox and out of it: one of the two is NAME:PATH.

 The container must have tar. Links are not copied. Nothing outside of DST is written, whatever the sandbox sends.`,
		Example: `  # A directory into it
  kubectl sandbox cp ./src my-sandbox:/workspace

  # A file out of it, under another name
  kubectl sandbox cp claim/my-claim:/workspace/out.json ./result.json`,
		Args:              usage(cobra.ExactArgs(2)),
		ValidArgsFunction: p.completeCopy,
		RunE: func(cmd *cobra.Command, args []string) error {
			from, fromThere, err := parsePlace(args[0])
			if err != nil {
				return cmdutil.UsageErrorf(cmd, "%v", err)
			}
			to, toThere, err := parsePlace(args[1])
			if err != nil {
				return cmdutil.UsageErrorf(cmd, "%v", err)
			}
			if fromThere == toThere {
				return cmdutil.UsageErrorf(cmd, "one of SRC and DST must be NAME:PATH")
			}
			return p.at(from.name+to.name, func(ctx context.Context, a *asked, target sandbox.Target) error {
				progress := p.begin("cp")
				options := sandbox.CopyOptions{
					Container: container,
					Progress:  progress.copied(),
					Skipped: func(path, reason string) {
						fmt.Fprintf(p.ErrOut, "warning: skipped %s: %s\n", path, reason)
					},
				}
				if toThere {
					err = a.actions.Upload(ctx, target, from.path, to.path, options)
				} else {
					err = a.actions.Download(ctx, target, from.path, to.path, options)
				}
				progress.end()
				if errors.Is(err, sandbox.ErrNoTar) {
					return errors.New("the container has no tar, which copying needs: use an image with tar, or exec with a redirection")
				}
				return err
			})
		},
	}
	cmd.Flags().StringVarP(&container, "container", "c", "", ofContainer)
	return cmd
}

// copied says how far a copy is, on a terminal and not too often.
func (g *progress) copied() func(int64) {
	var last time.Time
	return func(bytes int64) {
		if !g.isTerminal || time.Since(last) < 200*time.Millisecond {
			return
		}
		last = time.Now()
		rate := float64(bytes) / max(time.Since(g.began).Seconds(), 0.001)
		g.say(fmt.Sprintf("%s, %s/s", size(float64(bytes)), size(rate)))
	}
}
