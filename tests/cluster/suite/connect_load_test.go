package suite

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	clientexec "k8s.io/client-go/util/exec"

	"sandbox-apiserver.local/cluster/suite/internal/forward"
	"sandbox-apiserver.local/cluster/suite/internal/process"
)

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

// serverProcess is our server in the cluster.
func serverProcess(t *testing.T) process.Process {
	t.Helper()
	out, err := exec.Command("pidof", "-s", "sandbox-apiserver").Output()
	if err != nil {
		t.Fatalf("our server does not run: %v", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return process.Process{PID: pid}
}

func resident(t *testing.T, server process.Process) int64 {
	t.Helper()
	_, kib, err := server.Memory()
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// TestFiveHundredSessionsAtOnce opens them, speaks over each while all are open, and ends each with a code of its own.
func TestFiveHundredSessionsAtOnce(t *testing.T) {
	alone(t)
	ns := namespace(t)
	boxes := []string{"a", "b", "c", "d", "e"}
	for _, name := range boxes {
		createSandbox(t, ns, name)
	}
	for _, name := range boxes {
		waitReady(t, ns, name)
	}
	server := serverProcess(t)
	before := resident(t, server)
	wave(t, ns, boxes, 500)
	first := resident(t, server)
	// What is kept of sessions that are over would show twice more.
	wave(t, ns, boxes, 150)
	second := resident(t, server)
	wave(t, ns, boxes, 150)
	third := resident(t, server)
	t.Logf("resident: %d MiB before, %d after 500 sessions, %d and %d after 150 more", before/mebibyte, first/mebibyte, second/mebibyte, third/mebibyte)
	if grown := third - second; grown > 8*mebibyte {
		t.Errorf("150 sessions left %d KiB each", grown/150/1024)
	}
	if grown := first - before; grown > 200*mebibyte {
		t.Errorf("500 sessions took %d MiB", grown/mebibyte)
	}
}

// wave holds count sessions open until all are.
func wave(t *testing.T, ns string, boxes []string, count int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var opened, ended sync.WaitGroup
	opened.Add(count)
	all := make(chan struct{})
	go func() {
		opened.Wait()
		close(all)
	}()
	// As many as one client would open at a time; all stay open.
	starting := make(chan struct{}, 32)
	for i := range count {
		ended.Go(func() {
			starting <- struct{}{}
			code := i%100 + 1
			command := []string{"sh", "-c", fmt.Sprintf("echo open; read line; echo heard $line; exit %d", code)}
			query := url.Values{"command": command, "stdin": {"true"}, "stdout": {"true"}}
			at := streamURL(t, admin, ns, boxes[i%len(boxes)], "exec", query)
			in, toPod := io.Pipe()
			fromPod, out := io.Pipe()
			session, err := remotecommand.NewWebSocketExecutor(admin, http.MethodGet, at.String())
			if err != nil {
				t.Error(err)
			}
			done := make(chan error, 1)
			go func() {
				err := session.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: in, Stdout: out})
				_ = out.CloseWithError(io.EOF)
				done <- err
			}()
			word := make([]byte, len("open\n"))
			_, err = io.ReadFull(fromPod, word)
			<-starting
			opened.Done()
			if err != nil {
				t.Errorf("session %d did not open: %v, %v", i, err, <-done)
				return
			}
			select {
			case <-all:
			case <-ctx.Done():
			}
			_, _ = fmt.Fprintf(toPod, "word-%d\n", i)
			heard, _ := io.ReadAll(fromPod)
			var exit clientexec.CodeExitError
			if err := <-done; !errors.As(err, &exit) || exit.Code != code || string(heard) != fmt.Sprintf("heard word-%d\n", i) {
				t.Errorf("session %d: %q, %v", i, heard, err)
			}
		})
	}
	ended.Wait()
}

// TestASlowReaderIsWaitedFor and not read ahead for.
func TestASlowReaderIsWaitedFor(t *testing.T) {
	alone(t)
	ns := namespace(t)
	createSandbox(t, ns, "box", serving)
	waitReady(t, ns, "box")
	startEcho(t, sandboxPath(ns, "box"))
	server := serverProcess(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	// It has to be over before client-go's first ping, after 5 s: a kubelet that closes with a ping unread resets
	// the connection, and what kube-apiserver had not read of it is lost, for a Pod's exec too.
	const size = 128 * mebibyte
	for _, config := range map[string]*rest.Config{"through the front": admin, "directly": asDirectly(t, admin)} {
		before := resident(t, server)
		// Over exec, and over proxy with and without HTTP/2.
		query := url.Values{"command": {"dd", "if=/dev/zero", "bs=1M", "count=128"}, "stdout": {"true"}}
		session := executor(t, config, "WebSocket", streamURL(t, config, ns, "box", "exec", query))
		reader, writer := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- session.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: writer})
			_ = writer.Close()
		}()
		page, err := httpClient(t, config).Get(config.Host + sandboxPath(ns, "box:9090") + "/proxy/bytes?count=" + strconv.Itoa(size))
		if err != nil {
			t.Fatal(err)
		}
		for name, stream := range map[string]io.Reader{"exec": reader, "proxy": page.Body} {
			if _, err := io.ReadFull(stream, make([]byte, mebibyte)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		// Long enough for what would be read ahead: a second is 100 MB here.
		grown := int64(0)
		for range 15 {
			time.Sleep(100 * time.Millisecond)
			grown = max(grown, resident(t, server)-before)
		}
		if grown > 48*mebibyte {
			t.Errorf("%d MiB were read ahead", grown/mebibyte)
		}
		for name, stream := range map[string]io.Reader{"exec": reader, "proxy": page.Body} {
			if rest, err := io.Copy(io.Discard, stream); err != nil || rest != size-mebibyte {
				t.Errorf("%s: %d bytes more, %v", name, rest, err)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = page.Body.Close()
	}
}

// noise is bytes that repeat nowhere near, and what they sum up to.
type noise struct {
	random *rand.ChaCha8
	left   int64
	sum    hash.Hash
}

func newNoise(size int64) *noise {
	return &noise{rand.NewChaCha8([32]byte{1}), size, sha256.New()}
}

func (n *noise) Read(buffer []byte) (int, error) {
	if n.left == 0 {
		return 0, io.EOF
	}
	count, _ := n.random.Read(buffer[:min(int64(len(buffer)), n.left)])
	n.left -= int64(count)
	_, _ = n.sum.Write(buffer[:count])
	return count, nil
}

func (n *noise) hex() string { return hex.EncodeToString(n.sum.Sum(nil)) }

// TestAGigabyteEachWay through exec and through port-forward.
func TestAGigabyteEachWay(t *testing.T) {
	alone(t)
	ns := namespace(t)
	createSandbox(t, ns, "box", serving)
	waitReady(t, ns, "box")
	path := sandboxPath(ns, "box")
	startEcho(t, path)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	said := func(stdin io.Reader, stdout io.Writer, script string) error {
		query := url.Values{"command": {"sh", "-c", script}, "stdout": {"true"}}
		if stdin != nil {
			query.Set("stdin", "true")
		}
		stream := executor(t, admin, "WebSocket", urlOf(t, admin, path+"/exec", query))
		return stream.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: stdout})
	}

	sent := newNoise(gibibyte)
	var told strings.Builder
	if err := said(sent, &told, "sha256sum"); err != nil || !strings.HasPrefix(told.String(), sent.hex()) {
		t.Errorf("stdin: %q, not %s: %v", told.String(), sent.hex(), err)
	}

	// The same bytes sixteen times over, so that the Pod need not keep a gigabyte.
	const repeated = "head -c 67108864 /dev/urandom > /tmp/www/part; i=0; while [ $i -lt 16 ]; do cat /tmp/www/part; i=$((i+1)); done"
	got := sha256.New()
	var count counter
	if err := said(nil, io.MultiWriter(got, &count), repeated); err != nil || count != gibibyte {
		t.Fatalf("stdout: %d bytes, %v", count, err)
	}
	told.Reset()
	if err := said(nil, &told, "i=0; while [ $i -lt 16 ]; do cat /tmp/www/part; i=$((i+1)); done | sha256sum"); err != nil {
		t.Fatal(err)
	}
	if sum := hex.EncodeToString(got.Sum(nil)); !strings.HasPrefix(told.String(), sum) {
		t.Errorf("stdout: %s, not %q", sum, told.String())
	}

	ports := forwarded(t, admin, "WebSocket", ns, "box", ":9090", ":8080")
	sent = newNoise(gibibyte)
	answer, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/echo/", ports[0].Local), "application/octet-stream", sent)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(answer.Body)
	if _ = answer.Body.Close(); err != nil || !strings.Contains(string(text), sent.hex()) {
		t.Errorf("up through the port: %s, not %s, %v", text, sent.hex(), err)
	}
	got.Reset()
	count = 0
	for range 16 {
		answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/part", ports[1].Local))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.MultiWriter(got, &count), answer.Body); err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	if sum := hex.EncodeToString(got.Sum(nil)); count != gibibyte || !strings.HasPrefix(told.String(), sum) {
		t.Errorf("down through the port: %d bytes, %s, not %q", count, sum, told.String())
	}
}

// counter of bytes.
type counter int64

func (c *counter) Write(bytes []byte) (int, error) {
	*c += counter(len(bytes))
	return len(bytes), nil
}

// forwarded ports of a Sandbox, until the test ends.
func forwarded(t *testing.T, config *rest.Config, protocol, ns, name string, ports ...string) []portforward.ForwardedPort {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at := streamURL(t, config, ns, name, "portforward", nil)
	chosen, stop, err := forward.Open(ctx, config, at, protocol, ports...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return chosen
}
