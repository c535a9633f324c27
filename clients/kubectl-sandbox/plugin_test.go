package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/clientset/versioned"
)

const (
	// image is there on every node of the test's cluster.
	image = "docker.io/local/busybox:1"
	// script serves a page on port 8080 and ends at once on SIGTERM.
	script = "echo started; mkdir -p /tmp/www; echo page > /tmp/www/index.html; httpd -p 8080 -h /tmp/www; " +
		"trap 'exit 0' TERM; while :; do sleep 1 & wait; done"
	patience = 90 * time.Second
)

var (
	core    kubernetes.Interface
	ours    versioned.Interface
	kubectl string
	// path has the plugin on it.
	path string
)

func TestMain(m *testing.M) { os.Exit(prepared(m)) }

func prepared(m *testing.M) int {
	failed := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if os.Getenv("KUBECONFIG") == "" {
		return failed(errors.New("KUBECONFIG is not set: these tests need a cluster"))
	}
	if kubectl = os.Getenv("KUBECTL"); kubectl == "" {
		kubectl = "kubectl"
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err == nil {
		config.QPS = -1
		core, err = kubernetes.NewForConfig(config)
	}
	if err == nil {
		ours, err = versioned.NewForConfig(config)
	}
	if err != nil {
		return failed(err)
	}
	directory, err := os.MkdirTemp("", "kubectl-sandbox")
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(directory)
	build := exec.Command("go", "build", "-o", filepath.Join(directory, "kubectl-sandbox"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return failed(fmt.Errorf("%w\n%s", err, out))
	}
	// kubectl asks this one for completions.
	if err := os.Symlink("kubectl-sandbox", filepath.Join(directory, "kubectl_complete-sandbox")); err != nil {
		return failed(err)
	}
	path = directory + string(os.PathListSeparator) + os.Getenv("PATH")
	return m.Run()
}

type result struct {
	out, err string
	code     int
}

func command(ctx context.Context, stdin string, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, kubectl, args...)
	cmd.Env = append(os.Environ(), "PATH="+path, "KUBECACHEDIR="+filepath.Join(os.TempDir(), "kubectl-sandbox-cache"))
	var out, failed bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &failed
	return cmd, &out, &failed
}

// run runs kubectl with the plugin.
func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd, out, failed := command(ctx, stdin, args...)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("kubectl %q: %v %v\n%s%s", args, err, ctx.Err(), out, failed)
	}
	return result{out.String(), failed.String(), cmd.ProcessState.ExitCode()}
}

// must is a run that succeeds; it returns what is on stdout.
func must(t *testing.T, args ...string) string {
	t.Helper()
	got := run(t, "", args...)
	if got.code != 0 {
		t.Fatalf("kubectl %q: exit %d\n%s%s", args, got.code, got.out, got.err)
	}
	return got.out
}

// fails is one that does not, with a text on stderr.
func fails(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	if got := run(t, "", args...); got.code != code || !strings.Contains(got.err, text) {
		t.Errorf("kubectl %q: exit %d, not %d with %q\n%s%s", args, got.code, code, text, got.out, got.err)
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func namespace(t *testing.T) string {
	t.Helper()
	made, err := core.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "plugin-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := core.CoreV1().Namespaces().Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return made.Name
}

func eventually(t *testing.T, what string, probe func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		done, seen := probe()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %s: %s", what, patience, seen)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// pool makes a template and a pool of the same name, and waits until it is full.
func pool(t *testing.T, ns, name string, replicas int32) {
	t.Helper()
	ctx, grace := within(t), int64(2)
	_, err := ours.SandboxV1beta1().SandboxTemplates(ns).Create(ctx, &v1beta1.SandboxTemplate{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1beta1.SandboxTemplateSpec{PodTemplate: v1beta1.PodTemplate{Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "main", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: []string{"sh", "-c", script},
			}},
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pools := ours.SandboxV1beta1().SandboxWarmPools(ns)
	_, err = pools.Create(ctx, &v1beta1.SandboxWarmPool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1beta1.SandboxWarmPoolSpec{Replicas: &replicas, SandboxTemplateRef: v1beta1.ObjectReference{Name: name}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "stock", func() (bool, string) {
		now, err := pools.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return now.Status.ReadyReplicas == replicas, fmt.Sprintf("%+v", now.Status)
	})
}

// user has these rights in the namespace, and no other; it is taken on with --as.
func user(t *testing.T, ns, name string, rules ...rbacv1.PolicyRule) string {
	t.Helper()
	ctx := within(t)
	_, err := core.RbacV1().Roles(ns).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = core.RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name + "-of-" + ns}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return name + "-of-" + ns
}

func claims(t *testing.T, ns string) []v1beta1.SandboxClaim {
	t.Helper()
	list, err := ours.SandboxV1beta1().SandboxClaims(ns).List(within(t), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}
