package suite

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"k8s.io/client-go/rest"
)

// The machinery's second user: sample-apiserver's Flunder, served by the crate alone, asked directly.
func TestFlunderRunsOnTheMachineryAlone(t *testing.T) {
	calm(t)
	ns := namespace(t)
	config := startFlunder(t)
	if got := send(t, config, "GET", "/readyz", "", ""); got.code != 200 {
		t.Fatalf("readyz: %d %s", got.code, got.body)
	}
	base := "/apis/wardle.example.com/v1alpha1"
	listed := send(t, config, "GET", base, "", "")
	if listed.code != 200 || !strings.Contains(listed.body, `"flunders/status"`) {
		t.Fatalf("discovery: %d %s", listed.code, listed.body)
	}
	path := base + "/namespaces/" + ns + "/flunders"
	good := `{"metadata":{"name":"f"},"spec":{"flunderReference":"g","referenceType":"Flunder"}}`
	made := send(t, config, "POST", path, asJSON, good)
	if made.code != 201 {
		t.Fatalf("create: %d %s", made.code, made.body)
	}
	t.Cleanup(func() { send(t, config, "DELETE", path+"/f", "", "") })
	both := strings.Replace(good, `"spec":{`, `"spec":{"fischerReference":"h",`, 1)
	both = strings.Replace(both, `"name":"f"`, `"name":"g"`, 1)
	refused := send(t, config, "POST", path, asJSON, both)
	message, reason := refused.status()
	if refused.code != 422 || reason != "Invalid" || !strings.Contains(message, "spec.fischerReference: Forbidden") {
		t.Fatalf("invalid Flunder: %d %s", refused.code, refused.body)
	}
	unknown := send(t, config, "GET", path+"/nobody", "", "")
	if message, _ := unknown.status(); message != `flunders.wardle.example.com "nobody" not found` {
		t.Fatalf("not found: %s", unknown.body)
	}
}

// startFlunder builds and runs the example beside our server, on a port of its own and in our etcd.
func startFlunder(t *testing.T) *rest.Config {
	t.Helper()
	build := exec.Command("cargo", "build", "--quiet", "--package", "apiserver", "--example", "flunder")
	build.Dir = root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the example: %v\n%s", err, out)
	}
	address := freeAddress(t)
	logged, err := os.Create(filepath.Join(t.TempDir(), "flunder.log"))
	if err != nil {
		t.Fatal(err)
	}
	server := exec.Command(builtExample("flunder"),
		"--listen", address,
		"--kubeconfig", env.Kubeconfig,
		"--etcd-servers", env.SandboxEtcd,
		"--tls-cert-file", pki("sandbox-apiserver.crt"),
		"--tls-private-key-file", pki("sandbox-apiserver.key"))
	server.Stdout, server.Stderr = logged, logged
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stop the example: %v", err)
		}
		if err := server.Wait(); err != nil {
			text, _ := os.ReadFile(logged.Name())
			t.Errorf("the example ended with %v:\n%s", err, text)
		}
	})
	certificate, key := loadAuthority(t, "ca").mint(t, "flunder-admin", "system:masters")
	config := directly(t, certificate, key)
	config.Host = "https://" + address
	eventually(t, "Flunder server", patience, func() (bool, string) {
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			return false, err.Error()
		}
		answer, err := client.Get(config.Host + "/readyz")
		if err != nil {
			return false, err.Error()
		}
		return answer.StatusCode == 200, orElse(answer.Body.Close(), answer.Status)
	})
	return config
}

func orElse(err error, otherwise string) string {
	if err != nil {
		return err.Error()
	}
	return otherwise
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}
