package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/figures"
	"sandbox-apiserver.local/cluster/suite/internal/process"
)

const (
	// What is sent is one block of noise again and again: nothing on the way can make it smaller.
	blockBytes = 16 << 20
	// A step that takes this long has failed.
	stepLimit = 3 * time.Minute

	sendPort, takePort = 9001, 9002
)

// way to the streams of the one Pod.
type way struct {
	name   string
	config *rest.Config
	base   string
}

type bench struct {
	env       cluster.Environment
	size      sizes
	core      kubernetes.Interface
	dyn       dynamic.Interface
	namespace string
	server    process.Process
	block     []byte
	goals     []figures.Goal

	// The Pod's own, the Sandbox's through the front, and without it.
	pod, front, direct way
}

func prepare(ctx context.Context, size sizes) (*bench, error) {
	env, err := cluster.FromEnvironment()
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(os.Getenv("BENCH_SERVER_PID"))
	if err != nil {
		return nil, fmt.Errorf("BENCH_SERVER_PID: %w: run `cargo xtask bench exec`", err)
	}
	config, err := env.RestConfig()
	if err != nil {
		return nil, err
	}
	b := &bench{env: env, size: size, server: process.Process{PID: pid}, block: noise()}
	if b.core, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if b.dyn, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	namespace, err := b.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-exec-"},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	b.namespace = namespace.Name
	// The same user by the same certificate.
	directly := rest.CopyConfig(config)
	directly.Host = env.Server
	directly.TLSClientConfig.CAData = nil
	directly.TLSClientConfig.CAFile = filepath.Join(env.DevDir, "pki", "serving-ca.crt")
	sandbox := fmt.Sprintf("/apis/%s/namespaces/%s/sandboxes/box", cluster.GroupVersion, b.namespace)
	b.pod = way{"pods, kube-apiserver", config, "/api/v1/namespaces/" + b.namespace + "/pods/box"}
	b.front = way{"sandboxes, kube-apiserver", config, sandbox}
	b.direct = way{"sandboxes, directly", directly, sandbox}
	return b, nil
}

func (b *bench) remove(ctx context.Context) error {
	return b.core.CoreV1().Namespaces().Delete(ctx, b.namespace, metav1.DeleteOptions{})
}

// box is the Sandbox, ready, with the block and what sends and takes it.
func (b *bench) box(ctx context.Context) error {
	err := process.Await(ctx, "service account", stepLimit, func() error {
		_, err := b.core.CoreV1().ServiceAccounts(b.namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	if err != nil {
		return err
	}
	sandboxes := b.dyn.Resource(cluster.Sandboxes).Namespace(b.namespace)
	if _, err := sandboxes.Create(ctx, cluster.Sandbox(b.namespace, "box"), metav1.CreateOptions{}); err != nil {
		return err
	}
	err = process.Await(ctx, "Sandbox that is ready", stepLimit, func() error {
		box, err := sandboxes.Get(ctx, "box", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if status, reason, _ := cluster.Condition(box, "Ready"); status != "True" {
			return fmt.Errorf("ready is %q, %s", status, reason)
		}
		return nil
	})
	if err != nil {
		return err
	}
	script := fmt.Sprintf("cat > /tmp/block && printf '%s' > /tmp/send && printf '%s' > /tmp/take && "+
		"(nc -ll -p %d -e sh /tmp/send >/dev/null 2>&1 &) && (nc -ll -p %d -e sh /tmp/take >/dev/null 2>&1 &)",
		b.sending(), b.taking(), sendPort, takePort)
	return b.pod.exec(ctx, bytes.NewReader(b.block), io.Discard, "sh", "-c", script)
}

// sending the blocks, as a script of the Pod's shell.
func (b *bench) sending() string {
	return fmt.Sprintf("for i in $(seq %d); do cat /tmp/block; done", b.size.blocks)
}

// taking as much: a port-forward does not tell the Pod that no more will come.
func (b *bench) taking() string {
	const pieces = 256
	return fmt.Sprintf("dd bs=%d count=%d iflag=fullblock | wc -c", blockBytes/pieces, b.size.blocks*pieces)
}

func (b *bench) bytes() int64 { return int64(b.size.blocks) * blockBytes }

// source of what sending sends.
func (b *bench) source() io.Reader {
	readers := make([]io.Reader, b.size.blocks)
	for i := range readers {
		readers[i] = bytes.NewReader(b.block)
	}
	return io.MultiReader(readers...)
}

func (w way) url(stream string, query url.Values) *url.URL {
	at, err := url.Parse(w.config.Host + w.base + "/" + stream)
	if err != nil {
		panic(err)
	}
	at.RawQuery = query.Encode()
	return at
}

func (w way) exec(ctx context.Context, stdin io.Reader, stdout io.Writer, command ...string) error {
	query := url.Values{"command": command, "stdout": {"true"}}
	if stdin != nil {
		query.Set("stdin", "true")
	}
	executor, err := remotecommand.NewWebSocketExecutor(w.config, "GET", w.url("exec", query).String())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	return executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout})
}

func noise() []byte {
	block := make([]byte, blockBytes)
	// The same in every run.
	_, _ = rand.NewChaCha8([32]byte{1}).Read(block)
	return block
}

func commit() string {
	said, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(said))
}
