package sandbox_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/clientset/versioned"
	"sandbox-apiserver.local/clients/go/sandbox"
)

// image is there on every node of the test's cluster.
const image = "docker.io/local/busybox:1"

// script serves a page on port 8080 and ends at once on SIGTERM.
const script = "echo started; mkdir -p /tmp/www; echo page > /tmp/www/index.html; httpd -p 8080 -h /tmp/www; " +
	"trap 'exit 0' TERM; while :; do sleep 1 & wait; done"

const patience = 90 * time.Second

var (
	admin *rest.Config
	core  kubernetes.Interface
	ours  versioned.Interface
)

func TestMain(m *testing.M) {
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		fmt.Fprintln(os.Stderr, "KUBECONFIG is not set: these tests need a cluster")
		os.Exit(1)
	}
	var err error
	if admin, err = clientcmd.BuildConfigFromFlags("", path); err == nil {
		admin.QPS = -1
		core, err = kubernetes.NewForConfig(admin)
	}
	if err == nil {
		ours, err = versioned.NewForConfig(admin)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
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
		ObjectMeta: metav1.ObjectMeta{GenerateName: "go-client-"},
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
		Spec: v1beta1.SandboxWarmPoolSpec{
			Replicas: &replicas, SandboxTemplateRef: v1beta1.ObjectReference{Name: name},
		},
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

func client(t *testing.T, config *rest.Config, ns string) *sandbox.Client {
	t.Helper()
	made, err := sandbox.New(config, ns)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// user has these rights in the namespace, and no other.
func user(t *testing.T, ns, name string, rules ...rbacv1.PolicyRule) *rest.Config {
	t.Helper()
	ctx := within(t)
	_, err := core.RbacV1().Roles(ns).Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules,
	}, metav1.CreateOptions{})
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
	config := rest.CopyConfig(admin)
	config.Impersonate.UserName = name + "-of-" + ns
	return config
}
