package suite

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSessionsEndWithTheServer(t *testing.T) {
	alone(t)
	ns := namespace(t)
	createSandbox(t, ns, "box")
	waitReady(t, ns, "box")
	direct := asDirectly(t, admin)
	for _, end := range []struct{ action, reason string }{
		// An orderly end tells why, as in a rolling update.
		{"stop", "the server is shutting down"},
		{"kill", ""},
	} {
		sessions := map[string]<-chan error{
			"WebSocket through the front": session(t, admin, "WebSocket", ns, "box"),
			"WebSocket directly":          session(t, direct, "WebSocket", ns, "box"),
			"SPDY through the front":      session(t, admin, "SPDY", ns, "box"),
			"SPDY directly":               session(t, direct, "SPDY", ns, "box"),
		}
		xtask(t, "service", end.action, ourServer)
		for name, ended := range sessions {
			reason := end.reason
			if strings.HasPrefix(name, "SPDY") {
				reason = ""
			}
			mustEnd(t, end.action+", "+name, ended, reason)
		}
		xtask(t, "service", "start", ourServer)
		waitAvailable(t)
		if out, _, err := execute(t, admin, "WebSocket", ns, "box", "", "echo", "back"); err != nil || out != "back\n" {
			t.Errorf("after %s: %q %v", end.action, out, err)
		}
	}
}

func TestSessionsEndWithThePod(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "box")
	waitReady(t, ns, "box")
	sessions := map[string]<-chan error{
		"WebSocket": session(t, admin, "WebSocket", ns, "box"),
		"SPDY":      session(t, admin, "SPDY", ns, "box"),
	}
	before := podUID(t, ns, "box")
	err := core.CoreV1().Pods(ns).Delete(context.Background(), "box", metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))})
	if err != nil {
		t.Fatal(err)
	}
	for protocol, ended := range sessions {
		mustEnd(t, protocol, ended, "")
	}
	// The sandbox gets another, and is used as before.
	eventually(t, "another Pod", patience, func() (bool, string) {
		out, _, err := execute(t, admin, "WebSocket", ns, "box", "", "echo", "back")
		return err == nil && out == "back\n", fmt.Sprintf("%q %v", out, err)
	})
	if after := podUID(t, ns, "box"); after == before {
		t.Error("the Pod was not replaced")
	}
}

// TestAClientThatVanishesIsFound: its machine is cut off, and says nothing more, not even goodbye.
func TestAClientThatVanishesIsFound(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "box")
	waitReady(t, ns, "box")
	trail := auditTrail(t)
	machine := fmt.Sprintf("suite-%d", os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v\n%s", args, err, out)
		}
	}
	ip("netns", "add", machine)
	t.Cleanup(func() { ip("netns", "delete", machine) })
	ip("-n", machine, "link", "add", "eth0", "type", "veth", "peer", "name", "half0", "netns", "sandbox-dev")
	ip("-n", "sandbox-dev", "link", "set", "half0", "master", "cni0", "up")
	ip("-n", machine, "addr", "add", "10.88.254.77/16", "dev", "eth0")
	ip("-n", machine, "link", "set", "eth0", "up")

	ctx, cancel := context.WithTimeout(context.Background(), 4*patience)
	defer cancel()
	client := exec.CommandContext(ctx, "ip", "netns", "exec", machine, env.Kubectl, "sandbox", "exec", "sandbox/box", "-n", ns,
		"--server=https://10.88.0.1:8443", "--certificate-authority="+pki("serving-ca.crt"),
		"--client-certificate="+pki("admin.crt"), "--client-key="+pki("admin.key"),
		"--", "sh", "-c", "echo open; sleep 600")
	client.Env = append(os.Environ(), "KUBECACHEDIR="+kcache, "KUBECONFIG=/dev/null",
		"PATH="+filepath.Join(env.DevDir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	var failed bytes.Buffer
	client.Stderr = &failed
	stdout, err := client.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "open\n" {
		t.Fatalf("%q %v %s", line, err, failed.String())
	}
	ofBox := func(stage string) func(auditEvent) bool {
		return func(e auditEvent) bool {
			return e.ObjectRef.Namespace == ns && e.of("sandboxes", "exec") && e.Stage == stage
		}
	}
	trail.find("the session", ofBox("ResponseStarted"))
	// Cut where nothing is on its way: of what is, the kernel finds out later.
	eventually(t, "silence", patience, func() (bool, string) {
		ip("-n", machine, "link", "set", "eth0", "down")
		queue, err := exec.Command("ip", "netns", "exec", "sandbox-dev", "ss", "-Htn", "dst", "10.88.254.77").Output()
		if fields := strings.Fields(string(queue)); err == nil && len(fields) > 2 && fields[2] == "0" {
			return true, ""
		}
		ip("-n", machine, "link", "set", "eth0", "up")
		return false, fmt.Sprintf("%s %v", queue, err)
	})
	cut := time.Now()
	ended := trail.find("its end", ofBox("ResponseComplete"))
	t.Logf("found after %v", time.Since(cut).Round(time.Second))
	if why := ended.Annotations["sandbox.x-k8s.io/ended"]; why != "broken" {
		t.Errorf("ended: %s", why)
	}
	_ = client.Process.Kill()
	_ = client.Wait()
}

// TestBrokenHandshakes sends what no client would, and looks that each gets an answer or an end and nobody panics.
func TestBrokenHandshakes(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "box")
	waitReady(t, ns, "box")
	trusted, err := os.ReadFile(pki("serving-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(pki("admin.crt"), pki("admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	server, err := url.Parse(env.Server)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	const seed = 20261126
	random := rand.New(rand.NewPCG(seed, 7))
	statuses := map[string]int{}
	for i := range 400 {
		request := handshake(random, ns)
		answer := exchangeRaw(t, server.Host, config, request, i)
		status := regexp.MustCompile(`^HTTP/1\.[01] (\d{3}) `).FindStringSubmatch(answer)
		switch {
		case answer == "":
			statuses["closed"]++
		case status == nil:
			t.Errorf("seed %d, request %d: %q was answered with %.200q", seed, i, request, answer)
		default:
			statuses[status[1]]++
			if status[1] == "500" {
				t.Errorf("seed %d, request %d: %q was answered with %.600q", seed, i, request, answer)
			}
		}
	}
	t.Log(statuses)
	// Some must get through and some must not, or nothing was tried.
	if statuses["101"] == 0 || statuses["400"] == 0 || statuses["404"] == 0 {
		t.Errorf("%v", statuses)
	}
	if out, _, err := execute(t, admin, "WebSocket", ns, "box", "", "echo", "well"); err != nil || out != "well\n" {
		t.Errorf("afterwards: %q %v", out, err)
	}
}

// handshake is one of an exec, in which something may be wrong.
func handshake(random *rand.Rand, ns string) string {
	pick := func(all ...string) string { return all[random.IntN(len(all))] }
	usually := func(right string, others ...string) string {
		if random.IntN(4) > 0 {
			return right
		}
		return pick(others...)
	}
	long := strings.Repeat("x", 1<<random.IntN(17))
	path := sandboxPath(ns, usually("box", "absent", "box%2f..%2fbox", "..", "%00", long)) +
		usually("/exec", "/exec/", "/exec/exec", "//exec", "/EXEC", "/attach", "/portforward", "/proxy/exec", "/%65xec", "/log")
	query := usually("command=true&stdout=true", "", "command=", "&&&=&command", "command=%zz", "command="+long, "container=nothere&command=true", "command=true&stdout=maybe&%ff=%fe")
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s?%s %s\r\n", usually("GET", "POST", "PUT", "get", "OPTIONS", "PRI", long), path, query, usually("HTTP/1.1", "HTTP/1.0", "HTTP/3", "HTTP/1.1 "))
	header := func(name string, values ...string) {
		for range []int{1, 1, 1, 0, 2}[random.IntN(5)] {
			fmt.Fprintf(&text, "%s: %s\r\n", name, usually(values[0], values[1:]...))
		}
	}
	header("Host", "box", "", "a b", long)
	header("Connection", "Upgrade", "upgrade, close", "close", "keep-alive", "Upgrade, X-Remote-User", long)
	header("Upgrade", pick("websocket", "SPDY/3.1"), "WebSocket", "h2c", "websocket, SPDY/3.1", "", "\x01", long)
	header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "", "short", long)
	header("Sec-WebSocket-Version", "13", "8", "-1", "99999999999999999999")
	header("Sec-WebSocket-Protocol", "v5.channel.k8s.io", "", ",,,", "channel.k8s.io, v4.channel.k8s.io", "nobody.knows", long)
	header("X-Stream-Protocol-Version", "v4.channel.k8s.io", "v99", "", long)
	if random.IntN(3) == 0 {
		header("Content-Length", "0", "5", "-5", "99999999999999999999", "a")
	}
	if random.IntN(5) == 0 {
		header("Transfer-Encoding", "chunked", "gzip", "chunked, chunked", "\x0b")
	}
	if random.IntN(8) == 0 {
		text.WriteString(pick("no colon\r\n", ": no name\r\n", "bad name: x\r\n", "\x00: x\r\n", " folded\r\n"))
	}
	text.WriteString("\r\n")
	text.WriteString(pick("", "", "", "body", "0\r\n\r\n", "\x88\x80\x00\x00\x00\x00", long))
	whole := text.String()
	if random.IntN(6) == 0 {
		return whole[:random.IntN(len(whole))]
	}
	return whole
}

// exchangeRaw says it all, says that this was all, and hears what comes back until the end.
func exchangeRaw(t *testing.T, address string, config *tls.Config, request string, number int) string {
	t.Helper()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	config = config.Clone()
	config.ServerName = host
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, config)
	if err != nil {
		t.Fatalf("request %d: the server takes no connection: %v", number, err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// It may be refused before it has been said.
	_, _ = io.WriteString(connection, request)
	_ = connection.CloseWrite()
	answer, err := io.ReadAll(io.LimitReader(connection, 64<<10))
	var timeout net.Error
	if err != nil && errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("request %d hangs: %q", number, request)
	}
	return string(answer)
}
