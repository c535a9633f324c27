package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/sandboxtest"
)

func TestRunsAndReleases(t *testing.T) {
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 2)
	runner := cluster.User(t, ns, "runner",
		rbacv1.PolicyRule{APIGroups: []string{v1beta1.GroupName}, Verbs: []string{"create"}, Resources: []string{"sandboxwarmpools/claim"}},
		rbacv1.PolicyRule{APIGroups: []string{v1beta1.GroupName}, Verbs: []string{"create", "get"}, Resources: []string{"sandboxclaims/exec"}},
		rbacv1.PolicyRule{APIGroups: []string{v1beta1.GroupName}, Verbs: []string{"delete"}, Resources: []string{"sandboxclaims"}},
	)
	as := []string{"sandbox", "-n", ns, "--as", runner, "run", "agents"}
	sandboxtest.Eventually(t, "right of runner", func() (bool, string) {
		got := run(t, "", append(as, "--", "true")...)
		return got.code == 0, got.err
	})
	got := run(t, "to and fro", append(as, "-i", "--", "sh", "-c", "cat; echo oh >&2; exit 7")...)
	if got.code != 7 || got.out != "to and fro" || !strings.Contains(got.err, "oh\n") || !strings.Contains(got.err, "command terminated with exit code 7") {
		t.Errorf("%+v", got)
	}
	fails(t, 1, `sandboxwarmpools.sandbox.x-k8s.io "absent" not found`, "sandbox", "-n", ns, "run", "absent", "--", "true")
	fails(t, 1, "Error from server (Forbidden)", "sandbox", "-n", "default", "--as", runner, "run", "agents", "--", "true")
	fails(t, 1, "a pool and a command are needed", "sandbox", "-n", ns, "run", "agents", "true")
	fails(t, 1, "unknown flag: --nonsense", "sandbox", "-n", ns, "run", "--nonsense")
	if left := claims(t, ns); len(left) != 0 {
		t.Errorf("not released: %+v", left)
	}
	// A command that ends by an interrupt.
	cmd, out, failed := command(sandboxtest.Within(t), "", append(as, "--", "sh", "-c", "echo begun; sleep 600")...)
	reader, writer := io.Pipe()
	cmd.Stdout = writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	if len(claims(t, ns)) != 1 {
		t.Error("nothing is claimed")
	}
	// kubectl becomes the plugin: they are one process.
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("%v %s%s", err, out, failed)
	}
	if left := claims(t, ns); len(left) != 0 {
		t.Errorf("not released after an interrupt: %+v", left)
	}
	// And one that waits for stock.
	cmd, out, failed = command(sandboxtest.Within(t), "", "sandbox", "-n", ns, "run", "agents", "--on-empty-pool=Wait", "--", "true")
	scale := must(t, "scale", "-n", ns, "sandboxwarmpool/agents", "--replicas=0")
	sandboxtest.Eventually(t, "empty pool", func() (bool, string) {
		now, err := cluster.Ours.SandboxV1beta1().SandboxWarmPools(ns).Get(sandboxtest.Within(t), "agents", metav1.GetOptions{})
		return err == nil && now.Status.Replicas == 0, fmt.Sprintf("%s %+v %v", scale, now.Status, err)
	})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Eventually(t, "claim that waits", func() (bool, string) {
		all := claims(t, ns)
		return len(all) == 1 && all[0].Status.WaitingSince != nil, fmt.Sprint(all)
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("%v %s%s", err, out, failed)
	}
	if left := claims(t, ns); len(left) != 0 {
		t.Errorf("not released while it waited: %+v", left)
	}
	fails(t, 1, "Error from server (PoolExhausted)", "sandbox", "-n", ns, "run", "agents", "--on-empty-pool=Fail", "--", "true")
	got = run(t, "", "sandbox", "-n", ns, "run", "agents", "--on-empty-pool=Wait", "--timeout=3s", "--", "true")
	if got.code != 1 || !strings.Contains(got.err, "timed out waiting for claim") || !strings.Contains(got.err, "claim agents-") {
		t.Errorf("no progress or no end: %+v", got)
	}
}

func TestClaims(t *testing.T) {
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 3)
	said := must(t, "sandbox", "-n", ns, "claim", "agents", "mine")
	if !regexp.MustCompile(`^sandboxclaim\.sandbox\.x-k8s\.io/mine claimed: sandbox agents-\S+, warm\n$`).MatchString(said) {
		t.Errorf("%q", said)
	}
	if again := must(t, "sandbox", "-n", ns, "claim", "agents", "mine"); again != said {
		t.Errorf("claimed twice: %q, %q", said, again)
	}
	if name := must(t, "sandbox", "-n", ns, "claim", "agents", "-o", "name"); !regexp.MustCompile(`^sandboxclaim\.sandbox\.x-k8s\.io/agents-\S+\n$`).MatchString(name) {
		t.Errorf("%q", name)
	}
	var claim v1beta1.SandboxClaim
	text := must(t, "sandbox", "-n", ns, "claim", "agents", "timed", "--shutdown-after=1h", "-l", "team=a", "-o", "json")
	if err := json.Unmarshal([]byte(text), &claim); err != nil || claim.Kind != "SandboxClaim" || claim.Status.Sandbox == nil ||
		claim.Spec.Lifecycle.ShutdownPolicy != v1beta1.ClaimDelete || claim.Spec.AdditionalPodMetadata.Labels["team"] != "a" {
		t.Errorf("%v %s", err, text)
	}
	gang := must(t, "sandbox", "-n", ns, "claim", "agents", "gang", "--replicas=2", "-o", "wide")
	if !regexp.MustCompile(`: sandbox \S+, (warm|cold), sandbox-dev, [0-9.]+; sandbox \S+, (warm|cold), sandbox-dev, [0-9.]+\n$`).MatchString(gang) {
		t.Errorf("%q", gang)
	}
	if dry := must(t, "sandbox", "-n", ns, "claim", "agents", "dry", "--dry-run"); !strings.Contains(dry, "claimed (dry run)") {
		t.Errorf("%q", dry)
	}
	fails(t, 1, "--wait must be none, bound or ready", "sandbox", "-n", ns, "claim", "agents", "--wait=forever")
	fails(t, 1, "accepts between 1 and 2 arg(s)", "sandbox", "-n", ns, "claim")
	if said := must(t, "sandbox", "-n", ns, "release", "mine", "claim/timed"); said != "sandboxclaim.sandbox.x-k8s.io/mine released\nsandboxclaim.sandbox.x-k8s.io/timed released\n" {
		t.Errorf("%q", said)
	}
	fails(t, 1, "Error from server (NotFound)", "sandbox", "-n", ns, "release", "mine")
	fails(t, 1, "is not a claim", "sandbox", "-n", ns, "release", "sandbox/x")
}

func TestStreamsAndActions(t *testing.T) {
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 1)
	must(t, "sandbox", "-n", ns, "claim", "agents", "mine")
	box := claims(t, ns)[0].Status.Sandbox.Name
	streamer := cluster.User(t, ns, "streamer", rbacv1.PolicyRule{
		APIGroups: []string{v1beta1.GroupName}, Verbs: []string{"create", "get"},
		Resources: []string{"sandboxes/exec", "sandboxes/log", "sandboxclaims/exec", "sandboxclaims/log"},
	})
	sandboxtest.Eventually(t, "right of streamer", func() (bool, string) {
		got := run(t, "", "sandbox", "-n", ns, "--as", streamer, "exec", box, "--", "true")
		return got.code == 0, got.err
	})
	for _, name := range []string{box, "sandbox/" + box, "claim/mine"} {
		got := run(t, "in", "sandbox", "-n", ns, "--as", streamer, "exec", "-i", name, "-c", "main", "--", "sh", "-c", "cat; exit 3")
		if got.code != 3 || got.out != "in" {
			t.Errorf("%s: %+v", name, got)
		}
		if log := must(t, "sandbox", "-n", ns, "--as", streamer, "logs", "--tail=1", name); log != "started\n" {
			t.Errorf("%s: %q", name, log)
		}
	}
	// The name alone, where one may look.
	if out := must(t, "sandbox", "-n", ns, "exec", "mine", "--", "hostname"); out != box+"\n" {
		t.Errorf("%q", out)
	}
	if got := run(t, "in", "sandbox", "-n", ns, "exec", "-it", box, "--", "cat"); got.out != "in" || !strings.Contains(got.err, "Unable to use a TTY") {
		t.Errorf("%+v", got)
	}
	fails(t, 1, `sandboxes.sandbox.x-k8s.io "absent" not found`, "sandbox", "-n", ns, "exec", "absent", "--", "true")
	fails(t, 1, "use exec [NAME] -- [COMMAND]", "sandbox", "-n", ns, "exec", box, "true")
	fails(t, 1, "you must specify at least one command", "sandbox", "-n", ns, "exec", box)
	fails(t, 1, "neither a sandbox nor a claim", "sandbox", "-n", ns, "exec", "pod/x", "--", "true")
	fails(t, 1, "container nothere is not valid", "sandbox", "-n", ns, "exec", box, "-c", "nothere", "--", "true")
	fails(t, 1, "at most one of --since and --since-time", "sandbox", "-n", ns, "logs", box, "--since=1s", "--since-time=2026-01-01T00:00:00Z")
	if log := must(t, "sandbox", "-n", ns, "logs", "--timestamps", "--since=1h", box); !regexp.MustCompile(`^\d{4}-\S+Z started\n$`).MatchString(log) {
		t.Errorf("%q", log)
	}
	forwards(t, ns, box)
	attaches(t, ns, box)

	for _, step := range []struct{ verb, done, phase string }{
		{"suspend", "suspended", "Suspended"}, {"resume", "resumed", "Running"}, {"restart", "restarted", "Running"},
	} {
		before, err := cluster.Ours.SandboxV1beta1().Sandboxes(ns).Get(sandboxtest.Within(t), box, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		said := must(t, "sandbox", "-n", ns, step.verb, "claim/mine", "--wait")
		if said != fmt.Sprintf("sandbox.sandbox.x-k8s.io/%s %s\n", box, step.done) {
			t.Errorf("%q", said)
		}
		now, err := cluster.Ours.SandboxV1beta1().Sandboxes(ns).Get(sandboxtest.Within(t), box, metav1.GetOptions{})
		if err != nil || string(now.Status.Phase) != step.phase || (step.verb == "restart" && now.Status.StartTime.Equal(before.Status.StartTime)) {
			t.Errorf("%s: %v %+v", step.verb, err, now.Status)
		}
	}
	fails(t, 1, "Error from server (NotFound)", "sandbox", "-n", ns, "suspend", "absent")
	fails(t, 1, "Error from server (Forbidden)", "sandbox", "-n", ns, "--as", streamer, "suspend", box)
	if table := must(t, "sandbox", "-n", ns, "top", "--sort-by=idle"); !regexp.MustCompile(`NAME +PHASE +CPU\(cores\) +MEMORY\(bytes\) +LAST USED +AGE\n(?s:.*)` + box + ` +Running +<unknown>`).MatchString(table) {
		t.Errorf("%s", table)
	}
}

// forwards shows that a port is reached, and that the forward ends with the sandbox's use of it.
func forwards(t *testing.T, ns, box string) {
	t.Helper()
	cmd, _, failed := command(sandboxtest.Within(t), "", "sandbox", "-n", ns, "port-forward", box, ":8080", "--address=127.0.0.1")
	reader, writer := io.Pipe()
	cmd.Stdout = writer
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var port int
	if _, err := fmt.Fscanf(reader, "Forwarding from 127.0.0.1:%d -> 8080\n", &port); err != nil {
		t.Fatalf("%v %s", err, failed)
	}
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	answer, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if page, err := io.ReadAll(answer.Body); string(page) != "page\n" {
		t.Errorf("%q %v", page, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v %s", err, failed)
	}
}

// attaches shows that what the process says is heard, and follows the log beside it.
func attaches(t *testing.T, ns, box string) {
	t.Helper()
	for _, args := range [][]string{{"attach", box}, {"logs", "-f", "--tail=0", box}} {
		cmd, _, failed := command(sandboxtest.Within(t), "", append([]string{"sandbox", "-n", ns}, args...)...)
		reader, writer := io.Pipe()
		cmd.Stdout = writer
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		heard := make(chan string, 1)
		go func() {
			buffer := make([]byte, 64)
			count, _ := reader.Read(buffer)
			heard <- string(buffer[:count])
			_, _ = io.Copy(io.Discard, reader)
		}()
		sandboxtest.Eventually(t, "line", func() (bool, string) {
			must(t, "sandbox", "-n", ns, "exec", box, "--", "sh", "-c", "echo a line > /proc/1/fd/1")
			select {
			case line := <-heard:
				return strings.HasPrefix(line, "a line"), line
			default:
				return false, failed.String()
			}
		})
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
	}
}

func TestCopies(t *testing.T) {
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 1)
	must(t, "sandbox", "-n", ns, "claim", "agents", "mine")
	local := t.TempDir()
	tree := filepath.Join(local, "tree")
	if err := os.MkdirAll(filepath.Join(tree, "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	if err := os.WriteFile(filepath.Join(tree, "deep", "file"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(tree, "link")); err != nil {
		t.Fatal(err)
	}
	got := run(t, "", "sandbox", "-n", ns, "cp", tree, "claim/mine:/tmp")
	if got.code != 0 || !strings.Contains(got.err, "warning: skipped") {
		t.Errorf("%+v", got)
	}
	must(t, "sandbox", "-n", ns, "cp", "mine:/tmp/tree", filepath.Join(local, "back"))
	if back, err := os.ReadFile(filepath.Join(local, "back", "deep", "file")); err != nil || !bytes.Equal(back, content) {
		t.Errorf("%d bytes came back, %v", len(back), err)
	}
	fails(t, 1, "one of SRC and DST must be NAME:PATH", "sandbox", "-n", ns, "cp", tree, "/tmp")
	fails(t, 1, "no such file or directory", "sandbox", "-n", ns, "cp", filepath.Join(local, "absent"), "mine:/tmp")
	fails(t, 1, "absent", "sandbox", "-n", ns, "cp", "mine:/tmp/absent", local)
	must(t, "sandbox", "-n", ns, "exec", "mine", "--", "rm", "/bin/tar")
	fails(t, 1, "the container has no tar", "sandbox", "-n", ns, "cp", tree, "mine:/tmp")
}

func TestTreeAndDoctor(t *testing.T) {
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 1)
	must(t, "sandbox", "-n", ns, "claim", "agents", "mine")
	box := claims(t, ns)[0].Status.Sandbox.Name
	for _, name := range []string{box, "claim/mine", "mine", "pool/agents"} {
		tree := must(t, "sandbox", "-n", ns, "tree", name)
		for _, line := range []string{`SandboxWarmPool/agents +\S+`, `─ SandboxClaim/mine +Ready`, `─ Sandbox/` + box + ` +Running`, `─ Pod/` + box + ` +Running sandbox-dev`} {
			if !regexp.MustCompile(line).MatchString(tree) {
				t.Errorf("%s: no %q in\n%s", name, line, tree)
			}
		}
	}
	viewer := cluster.User(t, ns, "viewer", rbacv1.PolicyRule{APIGroups: []string{v1beta1.GroupName}, Verbs: []string{"get", "list"}, Resources: []string{"*"}})
	sandboxtest.Eventually(t, "right of viewer", func() (bool, string) {
		got := run(t, "", "sandbox", "-n", ns, "--as", viewer, "tree", "pool/agents")
		return got.code == 0 && strings.Contains(got.out, "Pod  ") && strings.Contains(got.out, "<you may not look at it>"), got.out + got.err
	})
	fails(t, 1, "not found", "sandbox", "-n", ns, "tree", "pool/absent")

	healthy := must(t, "sandbox", "-n", ns, "doctor")
	for _, line := range []string{
		`ok    kube-apiserver: answers, v1\.`, `ok    APIService v1beta1\.sandbox\.x-k8s\.io: is available`, `ok    certificate of .*: valid until `,
		`ok    server: answers from its store`, `ok    rights in \S+: you may do all`, `(ok|warn)  +pool agents: `, `ok    claims: 1 in `, `ok    sandboxes: `,
	} {
		if !regexp.MustCompile(line).MatchString(healthy) {
			t.Errorf("no %q in\n%s", line, healthy)
		}
	}
	seen := must(t, "sandbox", "-n", ns, "--as", viewer, "doctor")
	for _, line := range []string{`warn  APIService \S+: you may not look at it`, `warn  rights in \S+: you may not: claim \(create sandboxwarmpools/claim\)`, `ok    rights in \S+: you may: .*look at sandboxes`} {
		if !regexp.MustCompile(line).MatchString(seen) {
			t.Errorf("no %q in\n%s", line, seen)
		}
	}
	if strings.Contains(seen+healthy, "\x1b[") {
		t.Error("colours without a terminal")
	}
	fails(t, 1, "", "sandbox", "-n", ns, "doctor", "--server=https://127.0.0.1:1")
}

func TestCompletion(t *testing.T) {
	ns := cluster.Namespace(t)
	cluster.Pool(t, ns, "agents", 1)
	must(t, "sandbox", "-n", ns, "claim", "agents", "mine")
	for _, one := range []struct {
		args []string
		line string
	}{
		{[]string{"claim", ""}, "agents"},
		{[]string{"exec", "claim/"}, "claim/mine"},
		{[]string{"exec", "claim/mine", "-c", ""}, "main"},
		{[]string{"release", ""}, "mine"},
		{[]string{"tree", "pool/"}, "pool/agents"},
		{[]string{"cp", "claim/"}, "claim/mine:"},
		{[]string{"su"}, "suspend"},
		{[]string{"claim", "agents", "--on-empty-pool", ""}, "ColdStart"},
	} {
		// As the shell asks: kubectl asks the plugin.
		out := must(t, append([]string{"__complete", "sandbox", "-n", ns}, one.args...)...)
		found := false
		for line := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			found = found || word == one.line
		}
		if !found {
			t.Errorf("%q: no %q in %q", one.args, one.line, out)
		}
	}
}
