package suite

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// The CA by which our server knows kube-apiserver changes in the three steps of every CA rotation, while
// requests go on: trust both, present the new certificate, trust the new CA alone.
func TestFrontProxyCARotatesUnderLoad(t *testing.T) {
	alone(t)
	ns := namespace(t)
	createSandbox(t, ns, "busy", cluster.Suspended)
	pid := serverPID(t)
	oldCertificate, oldKey := readPair(t, "front-proxy-client")
	oldCA, err := os.ReadFile(pki("front-proxy-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	next, nextCA, nextKey := newAuthority(t, "sandbox-dev-front-proxy-ca")
	certificate, key := next.mint(t, "front-proxy-client")
	load := startLoad(ns)
	if got := asFront(t, ns, certificate, key); got.code != http.StatusUnauthorized {
		t.Errorf("the new certificate was accepted before its CA: %d %s", got.code, got.body)
	}

	replace(t, "front-proxy-ca.crt", append(bytes.Clone(oldCA), nextCA...))
	waitRequestHeaderCA(t, func(bundle string) bool {
		return strings.Contains(bundle, string(nextCA)) && strings.Contains(bundle, string(oldCA))
	})
	waitTrusted(t, ns, certificate, key, true)

	// It says so in its log, and then only: the front's own word for which certificate it presents.
	setVerbosity(t, "2")
	t.Cleanup(func() { setVerbosity(t, "0") })
	log := filepath.Join(env.DevDir, "logs", "kube-apiserver.log")
	written := fileSize(t, log)
	replace(t, "front-proxy-client.key", key)
	replace(t, "front-proxy-client.crt", certificate)
	eventually(t, "kube-apiserver with the new certificate", 2*patience, func() (bool, string) {
		text, err := os.ReadFile(log)
		if err != nil || int64(len(text)) < written {
			return false, fmt.Sprint(err, len(text))
		}
		return bytes.Contains(text[written:], []byte(`"Loaded a new cert/key pair" name="aggregator-proxy-cert`)), "nothing in its log"
	})
	// The key of the authority: another run of these tests mints from it.
	replace(t, "front-proxy-ca.key", nextKey)
	replace(t, "front-proxy-ca.crt", nextCA)
	dropRequestHeaderCA(t, string(oldCA), string(nextCA))
	waitTrusted(t, ns, oldCertificate, oldKey, false)
	waitTrusted(t, ns, certificate, key, true)

	// All of them by the new certificate.
	after := load.requests.Load() + 100
	eventually(t, "hundred more requests", patience, func() (bool, string) {
		now := load.requests.Load()
		return now > after, fmt.Sprint(now)
	})
	requests, failures := load.stop()
	t.Logf("%d requests during and after the rotation", requests)
	for _, failure := range failures {
		t.Errorf("a request failed during the rotation: %s", failure)
	}
	if now := serverPID(t); now != pid {
		t.Errorf("our server was restarted: pid %s, then %s", pid, now)
	}
}

// load keeps reading and writing through the front.
type load struct {
	cancel   context.CancelFunc
	workers  sync.WaitGroup
	requests atomic.Int64
	mutex    sync.Mutex
	failures []string
}

func startLoad(ns string) *load {
	ctx, cancel := context.WithCancel(context.Background())
	running := &load{cancel: cancel}
	ask := func(what string, request func() error) {
		for ctx.Err() == nil {
			if err := request(); err != nil && ctx.Err() == nil {
				running.mutex.Lock()
				running.failures = append(running.failures, fmt.Sprintf("%s %s: %v", time.Now().Format(time.TimeOnly), what, err))
				running.mutex.Unlock()
			}
			running.requests.Add(1)
		}
	}
	running.workers.Go(func() {
		ask("get", func() error {
			_, err := sandboxes(ns).Get(ctx, "busy", metav1.GetOptions{})
			return err
		})
	})
	running.workers.Go(func() {
		ask("patch", func() error {
			patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"at":"%d"}}}`, time.Now().UnixNano())
			_, err := sandboxes(ns).Patch(ctx, "busy", types.MergePatchType, patch, metav1.PatchOptions{})
			return err
		})
	})
	return running
}

func (l *load) stop() (int64, []string) {
	l.cancel()
	l.workers.Wait()
	return l.requests.Load(), l.failures
}

// replace a file of .dev/pki by rename: whoever reads it sees the old one or the new one.
func replace(t *testing.T, file string, content []byte) {
	t.Helper()
	temporary := pki(file) + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, pki(file)); err != nil {
		t.Fatal(err)
	}
}

func waitRequestHeaderCA(t *testing.T, probe func(bundle string) bool) {
	t.Helper()
	eventually(t, "requestheader CA in the ConfigMap", 2*patience, func() (bool, string) {
		found, err := core.CoreV1().ConfigMaps("kube-system").Get(context.Background(), "extension-apiserver-authentication", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		bundle := found.Data["requestheader-client-ca-file"]
		return probe(bundle), bundle
	})
}

// dropRequestHeaderCA by hand: kube-apiserver itself only ever adds to the ConfigMap, and adds the old one again
// for as long as it has not read its file anew.
func dropRequestHeaderCA(t *testing.T, old, next string) {
	t.Helper()
	ctx := context.Background()
	patch := show(map[string]any{"data": map[string]any{"requestheader-client-ca-file": next}})
	clean := 0
	eventually(t, "requestheader CA without the old one", 2*patience, func() (bool, string) {
		maps := core.CoreV1().ConfigMaps("kube-system")
		found, err := maps.Get(ctx, "extension-apiserver-authentication", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		if bundle := found.Data["requestheader-client-ca-file"]; !strings.Contains(bundle, old) {
			clean++
			return clean > 10, bundle
		}
		clean = 0
		_, err = maps.Patch(ctx, found.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return false, fmt.Sprint(err)
	})
}

// waitTrusted until our server takes the certificate for kube-apiserver's, or no longer does.
func waitTrusted(t *testing.T, ns string, certificate, key []byte, want bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("server that trusts the certificate: %v", want), patience, func() (bool, string) {
		got := asFront(t, ns, certificate, key)
		if want {
			return got.code == http.StatusOK, got.body
		}
		return got.code == http.StatusUnauthorized, got.body
	})
}

// asFront asks as kube-apiserver does, in the name of the administrator.
func asFront(t *testing.T, ns string, certificate, key []byte) response {
	t.Helper()
	config := directly(t, certificate, key)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	// Every certificate is tried on a connection of its own.
	defer client.CloseIdleConnections()
	header := http.Header{"X-Remote-User": {"admin"}, "X-Remote-Group": {"system:masters"}}
	got, err := exchange(client, config.Host, http.MethodGet, sandboxPath(ns, "busy"), "", http.NoBody, header)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func setVerbosity(t *testing.T, level string) {
	t.Helper()
	if got := send(t, admin, http.MethodPut, "/debug/flags/v", "text/plain", level); got.code != http.StatusOK {
		t.Fatalf("verbosity of kube-apiserver: %d %s", got.code, got.body)
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
