package sandbox_test

import (
	"fmt"
	"os"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/clients/go/sandbox"
	"sandbox-apiserver.local/clients/go/sandboxtest"
)

var cluster *sandboxtest.Cluster

func TestMain(m *testing.M) {
	var err error
	if cluster, err = sandboxtest.Connect(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
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
	config := rest.CopyConfig(cluster.Admin)
	config.Impersonate.UserName = cluster.User(t, ns, name, rules...)
	return config
}
