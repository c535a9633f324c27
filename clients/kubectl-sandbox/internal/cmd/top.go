package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
)

const unknown = "<unknown>"

// used is what a Pod uses.
type used struct{ cpu, memory resource.Quantity }

// podMetrics is what of metrics.k8s.io's PodMetrics is needed here.
type podMetrics struct {
	Items []struct {
		Metadata   struct{ Name, Namespace string }
		Containers []struct {
			Usage struct{ CPU, Memory resource.Quantity }
		}
	}
}

// usage by the Pods' namespace/name, from the text of a PodMetricsList.
func usageOf(text []byte) (map[string]used, error) {
	var list podMetrics
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	all := map[string]used{}
	for _, pod := range list.Items {
		var sum used
		for _, container := range pod.Containers {
			sum.cpu.Add(container.Usage.CPU)
			sum.memory.Add(container.Usage.Memory)
		}
		all[pod.Metadata.Namespace+"/"+pod.Metadata.Name] = sum
	}
	return all, nil
}

// metrics asks for what Pods use, and says in words why it can't be told.
func (a *asked) metrics(ctx context.Context, namespace string) (map[string]used, string) {
	path := "/apis/metrics.k8s.io/v1beta1/pods"
	if namespace != "" {
		path = "/apis/metrics.k8s.io/v1beta1/namespaces/" + namespace + "/pods"
	}
	text, err := a.core.CoreV1().RESTClient().Get().AbsPath(path).DoRaw(ctx)
	switch {
	case apierrors.IsForbidden(err):
		return nil, "you may not list pods.metrics.k8s.io"
	case apierrors.IsNotFound(err):
		return nil, "the cluster has no metrics server (metrics.k8s.io is not served)"
	case err != nil:
		return nil, err.Error()
	}
	all, err := usageOf(text)
	if err != nil {
		return nil, err.Error()
	}
	return all, ""
}

func newTop(p *plugin) *cobra.Command {
	var everywhere bool
	var selector, order string
	cmd := &cobra.Command{
		Use:   "top [NAME]",
		Short: "Show what sandboxes use, and when they were last used",
		Long: `Show what sandboxes use, and when they were last used.

 CPU and memory come from the cluster's metrics server, and take the right to list pods.metrics.k8s.io. Without them
the rest is shown.`,
		Example: `  # The sandboxes of this namespace
  kubectl sandbox top

  # Those that have been idle for longest, anywhere
  kubectl sandbox top -A --sort-by=idle`,
		Args:              usage(cobra.MaximumNArgs(1)),
		ValidArgsFunction: p.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"", "cpu", "memory", "idle"}, order) {
				return cmdutil.UsageErrorf(cmd, "--sort-by must be cpu, memory or idle")
			}
			return p.asking(func(ctx context.Context, a *asked) error {
				if everywhere {
					a.namespace = ""
				}
				list, err := a.listed(ctx, args, selector)
				if err != nil {
					return err
				}
				if len(list) == 0 {
					fmt.Fprintf(p.ErrOut, "No sandboxes found in %s.\n", map[bool]string{true: "any namespace", false: a.namespace + " namespace"}[everywhere])
					return nil
				}
				usage, why := a.metrics(ctx, a.namespace)
				if why != "" {
					fmt.Fprintf(p.ErrOut, "CPU and memory are unknown: %s\n", why)
				}
				sortBy(list, usage, order)
				return p.printTop(list, usage, everywhere)
			})
		},
	}
	cmd.Flags().BoolVarP(&everywhere, "all-namespaces", "A", false, "If present, list the requested object(s) across all namespaces.")
	cmd.Flags().StringVarP(&selector, "selector", "l", "", "Selector (label query) to filter on.")
	cmd.Flags().StringVar(&order, "sort-by", "", "cpu, memory or idle; by name if not set.")
	return cmd
}

func (a *asked) listed(ctx context.Context, args []string, selector string) ([]v1beta1.Sandbox, error) {
	boxes := a.objects.SandboxV1beta1().Sandboxes(a.namespace)
	if len(args) == 0 {
		list, err := boxes.List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return nil, err
		}
		return list.Items, nil
	}
	names, err := a.sandboxes(ctx, args[0])
	if err != nil {
		return nil, err
	}
	var list []v1beta1.Sandbox
	for _, name := range names {
		box, err := boxes.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		list = append(list, *box)
	}
	return list, nil
}

func podOf(box *v1beta1.Sandbox) string {
	if box.Status.PodName != "" {
		return box.Namespace + "/" + box.Status.PodName
	}
	return box.Namespace + "/" + box.Name
}

func sortBy(list []v1beta1.Sandbox, usage map[string]used, order string) {
	slices.SortStableFunc(list, func(x, y v1beta1.Sandbox) int {
		one, other := usage[podOf(&x)], usage[podOf(&y)]
		switch order {
		case "cpu":
			return other.cpu.Cmp(one.cpu)
		case "memory":
			return other.memory.Cmp(one.memory)
		case "idle":
			return lastUse(&x).Compare(lastUse(&y))
		}
		return strings.Compare(x.Namespace+"/"+x.Name, y.Namespace+"/"+y.Name)
	})
}

// lastUse is the zero time of what was never used, as far as its server remembers.
func lastUse(box *v1beta1.Sandbox) time.Time {
	if box.Status.LastActivityTime == nil {
		return time.Time{}
	}
	return box.Status.LastActivityTime.Time
}

func (p *plugin) printTop(list []v1beta1.Sandbox, usage map[string]used, everywhere bool) error {
	table := printers.GetNewTabWriter(p.Out)
	if everywhere {
		fmt.Fprint(table, "NAMESPACE\t")
	}
	fmt.Fprintln(table, "NAME\tPHASE\tCPU(cores)\tMEMORY(bytes)\tLAST USED\tAGE")
	for i := range list {
		box := &list[i]
		cpu, memory, last := unknown, unknown, "<none>"
		if usage, known := usage[podOf(box)]; known {
			cpu = fmt.Sprintf("%dm", usage.cpu.MilliValue())
			memory = fmt.Sprintf("%dMi", usage.memory.Value()>>20)
		}
		if at := lastUse(box); !at.IsZero() {
			last = duration.HumanDuration(time.Since(at))
		}
		if everywhere {
			fmt.Fprintf(table, "%s\t", box.Namespace)
		}
		age := duration.HumanDuration(time.Since(box.CreationTimestamp.Time))
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", box.Name, box.Status.Phase, cpu, memory, last, age)
	}
	return table.Flush()
}
