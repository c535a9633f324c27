package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/process"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

// The node's address in the cluster's network namespace, where kube-apiserver reaches us.
const nodeAddress = "10.88.0.1"

// programs that `cargo xtask bench api` has built.
type programs struct {
	flunder, sampleApiserver, etcd string
	productPID, productEtcdPID     int
}

func programsFromEnvironment() (programs, error) {
	var found programs
	for name, field := range map[string]*string{
		"BENCH_FLUNDER":          &found.flunder,
		"BENCH_SAMPLE_APISERVER": &found.sampleApiserver,
		"BENCH_ETCD":             &found.etcd,
	} {
		if *field = os.Getenv(name); *field == "" {
			return found, fmt.Errorf("%s is not set: run `cargo xtask bench api`", name)
		}
	}
	var failures [2]error
	found.productPID, failures[0] = strconv.Atoi(os.Getenv("BENCH_SERVER_PID"))
	found.productEtcdPID, failures[1] = strconv.Atoi(os.Getenv("BENCH_SERVER_ETCD_PID"))
	return found, errors.Join(failures[:]...)
}

// pair of a server and an etcd of its own, both fresh.
type pair struct {
	subject *subject
	port    int
}

// startPair of one of the two that serve Flunders. The name tells the logs and the data apart.
func (r *run) startPair(ctx context.Context, name, kind string) (*pair, error) {
	directory := filepath.Join(r.env.DevDir, "data", "bench-"+name)
	if err := os.RemoveAll(directory); err != nil {
		return nil, err
	}
	etcd, endpoint, err := r.startEtcd(ctx, name, directory)
	if err != nil {
		return nil, err
	}
	s := &subject{name: kind, version: "v1alpha1", plural: "flunders", kind: "Flunder", etcd: etcd}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(nodeAddress, strconv.Itoa(port))
	switch kind {
	case ours:
		s.group = "flunder.example.com"
		s.spec = map[string]any{"flunderReference": "other", "referenceType": "Flunder"}
		s.server, err = process.Start(r.log(name), r.programs.flunder,
			"--listen", address, "--group", s.group, "--kubeconfig", r.env.Kubeconfig, "--etcd-servers", endpoint,
			"--tls-cert-file", r.certificate.file, "--tls-private-key-file", r.certificate.key)
	default:
		s.group = "wardle.example.com"
		s.spec = map[string]any{"reference": "other", "referenceType": "Flunder"}
		s.server, err = process.Start(r.log(name), r.programs.sampleApiserver,
			"--bind-address="+nodeAddress, "--secure-port="+strconv.Itoa(port), "--etcd-servers="+endpoint,
			"--kubeconfig="+r.env.Kubeconfig, "--authentication-kubeconfig="+r.env.Kubeconfig, "--authorization-kubeconfig="+r.env.Kubeconfig,
			"--tls-cert-file="+r.certificate.file, "--tls-private-key-file="+r.certificate.key)
	}
	if err != nil {
		etcd.Stop()
		return nil, err
	}
	started := &pair{s, port}
	s.direct = wire.Directly(r.env, "https://"+address)
	s.proxied = r.admin
	if err := awaitReady(ctx, s.direct); err != nil {
		started.stop()
		return nil, fmt.Errorf("%s: %w (log %s)", name, err, r.log(name))
	}
	return started, nil
}

func (r *run) startEtcd(ctx context.Context, name, directory string) (process.Process, string, error) {
	client, err := freePort()
	if err != nil {
		return process.Process{}, "", err
	}
	peers, err := freePort()
	if err != nil {
		return process.Process{}, "", err
	}
	endpoint := fmt.Sprintf("http://127.0.0.1:%d", client)
	peerURL := fmt.Sprintf("http://127.0.0.1:%d", peers)
	// As xtask starts the cluster's.
	etcd, err := process.Start(r.log(name+"-etcd"), r.programs.etcd,
		"--name="+name, "--data-dir="+directory, "--unsafe-no-fsync", "--log-level=warn", "--quota-backend-bytes=8589934592",
		"--listen-client-urls="+endpoint, "--advertise-client-urls="+endpoint,
		"--listen-peer-urls="+peerURL, "--initial-advertise-peer-urls="+peerURL, "--initial-cluster="+name+"="+peerURL)
	if err != nil {
		return process.Process{}, "", err
	}
	err = process.Await(ctx, "etcd", time.Minute, func() error {
		connection, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", client), time.Second)
		if err != nil {
			return err
		}
		return connection.Close()
	})
	if err != nil {
		etcd.Stop()
	}
	return etcd, endpoint, err
}

func (p *pair) stop() {
	p.subject.server.Stop()
	p.subject.etcd.Stop()
}

// running is the product, as the cluster has it.
func (r *run) running() *subject {
	return &subject{
		name: product, group: cluster.Group, version: cluster.Version, plural: "sandboxes", kind: "Sandbox",
		spec: sandboxSpec(), settled: `"phase":"Suspended"`,
		server: process.Process{PID: r.programs.productPID}, etcd: process.Process{PID: r.programs.productEtcdPID},
		direct: wire.Directly(r.env, r.env.Server), proxied: r.admin,
	}
}

func awaitReady(ctx context.Context, config *rest.Config) error {
	c, err := wire.New(config)
	if err != nil {
		return err
	}
	defer c.Close()
	return process.Await(ctx, "ready server", time.Minute, func() error {
		if _, err := c.Get(ctx, "/readyz"); err != nil {
			return err
		}
		// Nobody is let in here whom the server does not know yet: Go's is ready before it has the client CA.
		_, err := c.Get(ctx, "/metrics")
		return err
	})
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", nodeAddress+":0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

func (r *run) log(name string) string {
	return filepath.Join(r.env.DevDir, "logs", "bench-"+name+".log")
}
