// Package sandboxtest is what tests against a real cluster begin with: a namespace, a pool that is full, a user with few
// rights.
package sandboxtest

import (
	"context"
	"errors"
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
)

const (
	// Patience is how long anything is waited for.
	Patience = 90 * time.Second

	// image is there on every node of the test's cluster.
	image = "docker.io/local/busybox:1"
	// script serves a page on port 8080 and ends at once on SIGTERM.
	script = "echo started; mkdir -p /tmp/www; echo page > /tmp/www/index.html; httpd -p 8080 -h /tmp/www; " +
		"trap 'exit 0' TERM; while :; do sleep 1 & wait; done"
)

// Cluster is that of KUBECONFIG, as its administrator.
type Cluster struct {
	Admin *rest.Config
	Core  kubernetes.Interface
	Ours  versioned.Interface
}

// Connect fails without KUBECONFIG.
func Connect() (*Cluster, error) {
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		return nil, errors.New("KUBECONFIG is not set: these tests need a cluster")
	}
	admin, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, err
	}
	admin.QPS = -1
	core, err := kubernetes.NewForConfig(admin)
	if err != nil {
		return nil, err
	}
	ours, err := versioned.NewForConfig(admin)
	return &Cluster{admin, core, ours}, err
}

// Within is a context that ends with the test, or its patience.
func Within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	t.Cleanup(cancel)
	return ctx
}

// Eventually probes until it is so, and fails with what was seen last.
func Eventually(t *testing.T, what string, probe func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		done, seen := probe()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %s: %s", what, Patience, seen)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Namespace of its own, until the test ends.
func (c *Cluster) Namespace(t *testing.T) string {
	t.Helper()
	made, err := c.Core.CoreV1().Namespaces().Create(context.Background(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "go-client-"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Core.CoreV1().Namespaces().Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return made.Name
}

// Pool makes a template and a pool of the same name, and waits until it is full.
func (c *Cluster) Pool(t *testing.T, ns, name string, replicas int32) {
	t.Helper()
	ctx, grace := Within(t), int64(2)
	_, err := c.Ours.SandboxV1beta1().SandboxTemplates(ns).Create(ctx, &v1beta1.SandboxTemplate{
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
	pools := c.Ours.SandboxV1beta1().SandboxWarmPools(ns)
	_, err = pools.Create(ctx, &v1beta1.SandboxWarmPool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1beta1.SandboxWarmPoolSpec{
			Replicas: &replicas, SandboxTemplateRef: v1beta1.ObjectReference{Name: name},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	Eventually(t, "stock", func() (bool, string) {
		now, err := pools.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return now.Status.ReadyReplicas == replicas, fmt.Sprintf("%+v", now.Status)
	})
}

// User has these rights in the namespace, and no other. The administrator takes on the name that is returned.
func (c *Cluster) User(t *testing.T, ns, name string, rules ...rbacv1.PolicyRule) string {
	t.Helper()
	ctx := Within(t)
	_, err := c.Core.RbacV1().Roles(ns).Create(ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Core.RbacV1().RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name + "-of-" + ns}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return name + "-of-" + ns
}
