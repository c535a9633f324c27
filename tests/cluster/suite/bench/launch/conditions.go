package main

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

// describe the machine and the software: a figure without them says nothing.
func describe(ctx context.Context, env cluster.Environment, core kubernetes.Interface) (string, error) {
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
	line("etcd", etcd+", two of them, one member each")
	line("fsync", fsync(env))
	line("server", build(env))
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

// fsync as the running etcds were told. They run on this machine, as the whole cluster does.
func fsync(env cluster.Environment) string {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return "unknown"
	}
	modes := map[string]int{}
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
			modes["off"]++
		} else {
			modes["on"]++
		}
	}
	switch {
	case len(modes) != 1:
		return fmt.Sprintf("mixed: %v", modes)
	case modes["on"] > 0:
		return "on, in both etcds"
	default:
		return "off, in both etcds"
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
