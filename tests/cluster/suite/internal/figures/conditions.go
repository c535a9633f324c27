// Package figures is what the benchmarks share: the conditions that stand beside every figure, and the arithmetic.
package figures

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// Condition is a line of the conditions that one benchmark has and others have not.
type Condition struct{ Name, Value string }

// Describe the machine and the software: a figure without them says nothing.
func Describe(ctx context.Context, env cluster.Environment, core kubernetes.Interface, more ...Condition) (string, error) {
	version, err := core.Discovery().ServerVersion()
	if err != nil {
		return "", err
	}
	nodes, err := core.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	etcd, err := etcdVersion(ctx, env.SandboxEtcd)
	if err != nil {
		return "", err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}
	var text strings.Builder
	line := func(name, value string) { fmt.Fprintf(&text, "%-12s %s\n", name+":", value) }
	line("date", time.Now().UTC().Format(time.DateOnly))
	line("kernel", strings.TrimSpace(string(kernel)))
	line("cores", fmt.Sprintf("%d, %s", runtime.NumCPU(), cpu()))
	line("kubernetes", version.GitVersion)
	for _, node := range nodes.Items {
		line("runtime", node.Status.NodeInfo.ContainerRuntimeVersion)
	}
	count, mode := fsync(env)
	line("etcd", fmt.Sprintf("%s, %d of them, one member each", etcd, count))
	line("fsync", mode)
	line("GOGC", gogc())
	line("server", build(env))
	for _, condition := range more {
		line(condition.Name, condition.Value)
	}
	return text.String(), nil
}

func etcdVersion(ctx context.Context, endpoint string) (string, error) {
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 10 * time.Second})
	if err != nil {
		return "", err
	}
	defer client.Close()
	status, err := client.Status(ctx, endpoint)
	if err != nil {
		return "", err
	}
	return status.Version, nil
}

func cpu() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(info)) {
		if name, found := strings.CutPrefix(line, "model name"); found {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "unknown"
}

// gogc as the running kube-apiserver was told; the cluster's other programs in Go were told the same.
func gogc() string {
	commands, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return "unknown"
	}
	for _, path := range commands {
		// Cut by the kernel to 15 bytes, which it fits. A process that has ended meanwhile is none.
		if name, err := os.ReadFile(path); err != nil || strings.TrimSpace(string(name)) != "kube-apiserver" {
			continue
		}
		environment, err := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		if err != nil {
			continue
		}
		for variable := range strings.SplitSeq(string(environment), "\x00") {
			if value, found := strings.CutPrefix(variable, "GOGC="); found {
				return value + ", in the cluster's programs in Go"
			}
		}
		return "100, the default"
	}
	return "unknown"
}

// fsync as the running etcds were told, and how many they are. They run on this machine, as the whole cluster does.
func fsync(env cluster.Environment) (int, string) {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, "unknown"
	}
	on, off := 0, 0
	for _, path := range commands {
		command, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		arguments := bytes.Split(command, []byte{0})
		// Other tests may run etcds of their own.
		ours := bytes.Contains(command, []byte("--data-dir="+filepath.Join(env.DevDir, "data")+"/"))
		if filepath.Base(string(arguments[0])) != "etcd" || !ours {
			continue
		}
		if bytes.Contains(command, []byte("--unsafe-no-fsync")) {
			off++
		} else {
			on++
		}
	}
	return on + off, mode(on, off)
}

func mode(on, off int) string {
	switch {
	case on > 0 && off == 0:
		return "on, in all of them"
	case off > 0 && on == 0:
		return "off, in all of them"
	default:
		return fmt.Sprintf("mixed: on in %d, off in %d", on, off)
	}
}

// build of our server: an optimised one is several times smaller than one with everything for a debugger.
func build(env cluster.Environment) string {
	info, err := os.Stat(filepath.Join(env.DevDir, "bin", "sandbox-apiserver"))
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("binary of %d MiB", info.Size()>>20)
}
