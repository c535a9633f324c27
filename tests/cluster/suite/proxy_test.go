package suite

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
)

// heard is the echo server's answer.
type heard struct {
	Method, Target, Host string
	Header               http.Header
	Bytes                int64
	SHA256               string
}

// startEcho puts the echo server into a sandbox, over exec, and starts it there.
func startEcho(t *testing.T, path string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "echo")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./internal/echo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	script := "cat > /tmp/echo && chmod +x /tmp/echo && (/tmp/echo > /tmp/echo.log 2>&1 &)"
	query := map[string][]string{"command": {"sh", "-c", script}, "stdin": {"true"}, "stderr": {"true"}}
	var said bytes.Buffer
	stream := executor(t, admin, "WebSocket", urlOf(t, admin, path+"/exec", query))
	if err := stream.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: file, Stderr: &said}); err != nil {
		t.Fatalf("%v %s", err, said.String())
	}
}

func httpClient(t *testing.T, config *rest.Config) *http.Client {
	t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client
}

// proxied sends a request by whose headers more than usual can be said.
func proxied(t *testing.T, config *rest.Config, method, path string, body io.Reader, header http.Header) response {
	t.Helper()
	got, err := exchange(httpClient(t, config), config.Host, method, path, "", body, header)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

func echoed(t *testing.T, config *rest.Config, method, path string, body io.Reader, header http.Header) (got heard) {
	t.Helper()
	answer := proxied(t, config, method, path, body, header)
	if answer.code != http.StatusOK || answer.header.Get("X-Echo") != "kept" {
		t.Fatalf("%s %s: %d %s", method, path, answer.code, answer.body)
	}
	if err := json.Unmarshal([]byte(answer.body), &got); err != nil {
		t.Fatalf("%v: %s", err, answer.body)
	}
	return got
}

var proxyVerbs = []string{"get", "create", "update", "patch", "delete"}

func TestProxy(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "box")
	waitReady(t, ns, "box")
	startEcho(t, sandboxPath(ns, "box"))
	bindRule(t, ns, "visitor", []string{"sandboxes/proxy"}, proxyVerbs...)
	visitor := user(t, "visitor-of-"+ns)
	root := sandboxPath(ns, "box:9090") + "/proxy"
	eventually(t, "echo", patience, func() (bool, string) {
		got := send(t, visitor, http.MethodGet, root+"/echo/", "", "")
		return got.code == http.StatusOK, got.body
	})
	ways := map[string]*rest.Config{"through the front": visitor, "directly": asDirectly(t, visitor)}
	for name, config := range ways {
		t.Run(name, func(t *testing.T) { proxyOneWay(t, config, root) })
	}
	t.Run("encoded path", func(t *testing.T) {
		// kube-apiserver decodes it on the way.
		got := echoed(t, ways["directly"], http.MethodGet, root+"/echo/a%2Fb/%20", nil, nil)
		if got.Target != "/echo/a%2Fb/%20" {
			t.Error(got.Target)
		}
	})
	t.Run("TLS", func(t *testing.T) {
		got := echoed(t, visitor, http.MethodGet, sandboxPath(ns, "https:box:9443")+"/proxy/echo/", nil, nil)
		if got.Host != "localhost:9443" {
			t.Error(got.Host)
		}
	})
	t.Run("errors", func(t *testing.T) {
		for path, want := range map[string]struct {
			code int
			text string
		}{
			"box:9/proxy/":          {http.StatusServiceUnavailable, "error trying to reach service: "},
			"https:box:9090/proxy/": {http.StatusServiceUnavailable, "error trying to reach service: "},
			"box:0/proxy/":          {http.StatusBadRequest, `the sandbox has no port "0"`},
			"box:web/proxy/":        {http.StatusBadRequest, `the sandbox has no port "web"`},
			"ftp:box:21/proxy/":     {http.StatusBadRequest, `invalid sandbox request "ftp:box:21"`},
			"absent:80/proxy/":      {http.StatusNotFound, `sandboxes.sandbox.x-k8s.io "absent" not found`},
		} {
			got := send(t, visitor, http.MethodGet, sandboxesPath(ns)+"/"+path, "", "")
			message, _ := got.status()
			if got.code != want.code || !strings.Contains(message, want.text) {
				t.Errorf("%s: %d %s", path, got.code, got.body)
			}
		}
	})
	t.Run("rights", func(t *testing.T) {
		// To read is not enough, and no more is checked than what the path says.
		bindRule(t, ns, "reader", []string{"sandboxes/proxy", "sandboxes"}, "get")
		reader := user(t, "reader-of-"+ns)
		want := cannot(ns, "reader", "create", "sandboxes/proxy", "box:9090")
		eventually(t, "refusal", patience, func() (bool, string) {
			got := send(t, reader, http.MethodGet, root+"/echo/", "", "")
			message, _ := got.status()
			return got.code == http.StatusForbidden && strings.Contains(message, want), got.body
		})
		stranger := user(t, "stranger-of-"+ns)
		if got := send(t, stranger, http.MethodGet, root+"/echo/", "", ""); got.code != http.StatusForbidden {
			t.Errorf("%d %s", got.code, got.body)
		}
	})
	t.Run("ends with the sandbox", func(t *testing.T) { ticksEnd(t, visitor, ns, root) })
}

// proxyOneWay is what holds through the front and directly.
func proxyOneWay(t *testing.T, config *rest.Config, root string) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	sum := sha256.Sum256(body)
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		var sent io.Reader
		if method != http.MethodGet {
			sent = bytes.NewReader(body)
		}
		got := echoed(t, config, method, root+"/echo/x?a=1&a=2&pretty=b%26c", sent, nil)
		if got.Method != method || got.Target != "/echo/x?a=1&a=2&pretty=b%26c" || got.Host != "localhost:9090" {
			t.Errorf("%s: %+v", method, got)
		}
		if sent != nil && (got.Bytes != int64(len(body)) || got.SHA256 != hex.EncodeToString(sum[:])) {
			t.Errorf("%s: %d bytes arrived", method, got.Bytes)
		}
	}
	head := proxied(t, config, http.MethodHead, root+"/echo/", nil, nil)
	if head.code != http.StatusOK || head.header.Get("X-Echo") != "kept" || head.body != "" {
		t.Errorf("HEAD: %d %v %q", head.code, head.header, head.body)
	}
	secret := "canary-7f3a"
	got := echoed(t, config, http.MethodGet, root+"/echo/", nil, http.Header{
		"Cookie": {"session=" + secret}, "X-Forwarded-For": {secret}, "Forwarded": {"for=" + secret},
		"Origin": {"https://" + secret}, "Referer": {"https://" + secret}, "X-App": {"kept"},
	})
	if shown := show(got); strings.Contains(shown, secret) || strings.Contains(strings.ToLower(shown), "x-remote") {
		t.Errorf("it heard of the user: %s", shown)
	}
	if got.Header.Get("X-App") != "kept" || got.Header.Get("X-Forwarded-Prefix") != root {
		t.Errorf("%+v", got.Header)
	}
	ordered := proxied(t, config, http.MethodGet, root+"/orders", nil, nil)
	for name, values := range ordered.header {
		if strings.Contains(strings.Join(values, " "), "order") {
			t.Errorf("an order came through: %s: %v", name, values)
		}
	}
	if policy := ordered.header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "sandbox ") {
		t.Errorf("Content-Security-Policy %q", policy)
	}
	if got := proxied(t, config, http.MethodGet, root+"/refuse", nil, nil); got.code != http.StatusTeapot || got.body != "not today\n" {
		t.Errorf("%d %q", got.code, got.body)
	}
	redirected := proxied(t, config, http.MethodGet, root+"/redirect", nil, nil)
	if redirected.code != http.StatusBadGateway || !strings.Contains(redirected.body, "attempted to redirect") {
		t.Errorf("redirect: %d %v %q", redirected.code, redirected.header, redirected.body)
	}
	if got := proxied(t, config, http.MethodGet, root+"/bytes?count=20000000", nil, nil); len(got.body) != 20_000_000 {
		t.Errorf("%d of 20,000,000 bytes", len(got.body))
	}
	websocketOneWay(t, config, root)
}

func websocketOneWay(t *testing.T, config *rest.Config, root string) {
	secure, err := rest.TLSConfigFor(config)
	if err != nil {
		t.Fatal(err)
	}
	dialer := websocket.Dialer{TLSClientConfig: secure, Subprotocols: []string{"chat"}, HandshakeTimeout: patience}
	at := "wss" + strings.TrimPrefix(config.Host, "https") + root
	connection, answer, err := dialer.Dial(at+"/websocket", nil)
	if err != nil {
		t.Fatalf("%v %v", err, answer)
	}
	defer connection.Close()
	if connection.Subprotocol() != "chat" {
		t.Errorf("subprotocol %q", connection.Subprotocol())
	}
	for _, text := range []string{"to", "and", strings.Repeat("fro", 100_000)} {
		if err := connection.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, back, err := connection.ReadMessage(); err != nil || string(back) != text {
			t.Fatalf("%d bytes came back: %v", len(back), err)
		}
	}
	if _, answer, err = dialer.Dial(at+"/refuse", nil); err == nil || answer == nil || answer.StatusCode != http.StatusTeapot {
		t.Errorf("a refusal: %v %v", answer, err)
	}
}

// ticksEnd follows a stream until its sandbox is suspended; the next request wakes the sandbox.
func ticksEnd(t *testing.T, config *rest.Config, ns, root string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+root+"/ticks", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := httpClient(t, config).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	lines := bufio.NewReader(got.Body)
	began := time.Now()
	for range 10 {
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if time.Since(began) < 200*time.Millisecond {
		t.Error("the stream did not come as it was made")
	}
	if last := getSandbox(t, ns, "box").Object["status"].(map[string]any)["lastActivityTime"]; last == nil {
		t.Error("no lastActivityTime while it is used")
	}
	mustAct(t, ns, "box", "suspend", "")
	if _, err := io.Copy(io.Discard, lines); err == nil {
		t.Error("the stream ended as if it were complete")
	}
	if ctx.Err() != nil {
		t.Error("the stream outlived its sandbox")
	}
	// Without the right to resume.
	sleeping := send(t, config, http.MethodGet, root+"/echo/", "", "")
	if message, _ := sleeping.status(); sleeping.code != http.StatusConflict || !strings.Contains(message, "create sandboxes/resume") {
		t.Errorf("asleep: %d %s", sleeping.code, sleeping.body)
	}
}

func TestProxyWakesAndServesClaims(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "sleeper", serving, cluster.Suspended)
	waitSuspended(t, ns, "sleeper")
	eventually(t, "page", patience, func() (bool, string) {
		// Awake, it may not listen yet.
		got := send(t, admin, http.MethodGet, sandboxPath(ns, "sleeper:8080")+"/proxy/", "", "")
		if got.code != http.StatusOK && got.code != http.StatusServiceUnavailable {
			t.Fatalf("%d %s", got.code, got.body)
		}
		return got.body == "page\n", got.body
	})
	if mode := show(getSandbox(t, ns, "sleeper").Object["spec"].(map[string]any)["operatingMode"]); !strings.Contains(mode, "Running") {
		t.Error(mode)
	}

	makePool(t, ns, "served", 1)
	claimed(t, send(t, admin, http.MethodPost, poolPath(ns, "served")+"/claim", asJSON, `{"metadata":{"name":"mine"}}`), http.StatusCreated)
	startEcho(t, claimPath(ns, "mine"))
	eventually(t, "echo", patience, func() (bool, string) {
		got := send(t, admin, http.MethodGet, claimPath(ns, "mine:9090")+"/proxy/echo/", "", "")
		return got.code == http.StatusOK, got.body
	})
}

func TestLastUseIsShownAndNeverStored(t *testing.T) {
	calm(t)
	ns := namespace(t)
	createSandbox(t, ns, "used")
	createSandbox(t, ns, "unused")
	waitReady(t, ns, "used")
	waitReady(t, ns, "unused")
	if _, _, err := execute(t, admin, "WebSocket", ns, "used", "", "true"); err != nil {
		t.Fatal(err)
	}
	statusOf := func(name string) map[string]any { return getSandbox(t, ns, name).Object["status"].(map[string]any) }
	last, _ := statusOf("used")["lastActivityTime"].(string)
	if moment, err := time.Parse(time.RFC3339, last); err != nil || time.Since(moment).Abs() > time.Minute {
		t.Errorf("lastActivityTime %q: %v", last, err)
	}
	if last := statusOf("unused")["lastActivityTime"]; last != nil {
		t.Errorf("lastActivityTime of one that was not used: %v", last)
	}
	list := send(t, admin, http.MethodGet, sandboxesPath(ns), "", "").object(t)
	for _, item := range list["items"].([]any) {
		item := item.(map[string]any)
		_, has := item["status"].(map[string]any)["lastActivityTime"]
		if name := item["metadata"].(map[string]any)["name"]; has != (name == "used") {
			t.Errorf("in a list: %v: %v", name, has)
		}
	}
	table := kubectl(t, "-n", ns, "get", "sandboxes", "-o", "wide")
	mustContain(t, "table", strings.Split(table, "\n")[0], "LAST USED")
	lines := strings.Split(table, "\n")
	column := strings.Index(lines[0], "LAST USED")
	for _, line := range lines[1:] {
		shown := strings.TrimSpace((line + strings.Repeat(" ", column+9))[column:][:9])
		if strings.HasPrefix(line, "used") == (shown == "") {
			t.Errorf("%q in %q", shown, line)
		}
	}
	// A client that writes back what it has read stores nothing of it, and changes nothing.
	read := getSandbox(t, ns, "used")
	text, err := json.Marshal(read)
	if err != nil {
		t.Fatal(err)
	}
	put := send(t, admin, http.MethodPut, sandboxPath(ns, "used")+"/status", asJSON, string(text))
	if put.code != http.StatusOK {
		t.Fatalf("%d %s", put.code, put.body)
	}
	if after := getSandbox(t, ns, "used"); after.GetResourceVersion() != read.GetResourceVersion() {
		t.Errorf("written back: %s, then %s", read.GetResourceVersion(), after.GetResourceVersion())
	}
}
