package sandbox_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
	"sandbox-apiserver.local/clients/go/informers/externalversions"
	"sandbox-apiserver.local/clients/go/sandboxtest"
)

type schema struct {
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	AllOf      []schema          `json:"allOf"`
	Ref        string            `json:"$ref"`
}

// Every field that the server publishes is in the types, and the reverse.
func TestTypesAgreeWithTheServer(t *testing.T) {
	text, err := cluster.Core.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/sandbox.x-k8s.io/v1beta1").Do(sandboxtest.Within(t)).Raw()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	all := document.Components.Schemas
	for _, kind := range []any{v1beta1.Sandbox{}, v1beta1.SandboxTemplate{}, v1beta1.SandboxClaim{}, v1beta1.SandboxWarmPool{}} {
		of := reflect.TypeOf(kind)
		compared := 0
		for name, published := range all {
			if strings.HasSuffix(name, "."+of.Name()) {
				compare(t, all, of.Name(), published, of, &compared)
			}
		}
		if compared < 15 {
			t.Errorf("%s: only %d fields were compared", of.Name(), compared)
		}
	}
}

func compare(t *testing.T, all map[string]schema, path string, published schema, of reflect.Type, compared *int) {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
		if of.Kind() == reflect.Slice && published.Items != nil {
			published = *published.Items
		}
		of = of.Elem()
	}
	for published.Ref != "" || len(published.AllOf) == 1 {
		if published.Ref == "" {
			published = published.AllOf[0]
			continue
		}
		published = all[published.Ref[strings.LastIndex(published.Ref, "/")+1:]]
	}
	// Types of Kubernetes' own are Kubernetes' business.
	if of.Kind() != reflect.Struct || of.PkgPath() != reflect.TypeOf(v1beta1.Sandbox{}).PkgPath() {
		return
	}
	fields := map[string]reflect.Type{}
	for index := range of.NumField() {
		field := of.Field(index)
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" {
			fields[name] = field.Type
		} else if field.Type == reflect.TypeOf(metav1.TypeMeta{}) {
			fields["apiVersion"], fields["kind"] = reflect.TypeOf(""), reflect.TypeOf("")
		}
	}
	for name, inner := range published.Properties {
		if _, there := fields[name]; !there {
			t.Errorf("%s.%s is not in the types", path, name)
			continue
		}
		*compared++
		compare(t, all, path+"."+name, inner, fields[name], compared)
	}
	for name := range fields {
		if _, there := published.Properties[name]; !there {
			t.Errorf("%s.%s is not in the server's schema", path, name)
		}
	}
}

func TestClientsetInformerAndLister(t *testing.T) {
	ns := cluster.Namespace(t)
	ctx := sandboxtest.Within(t)
	factory := externalversions.NewSharedInformerFactoryWithOptions(cluster.Ours, 10*time.Minute, externalversions.WithNamespace(ns))
	informer := factory.Sandbox().V1beta1().SandboxClaims()
	synced := informer.Informer().HasSynced
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), synced) {
		t.Fatal("the informer has no list")
	}
	claims := cluster.Ours.SandboxV1beta1().SandboxClaims(ns)
	made, err := claims.Create(ctx, &v1beta1.SandboxClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"of": "tests"}},
		Spec: v1beta1.SandboxClaimSpec{
			WarmPoolRef: &v1beta1.ObjectReference{Name: "later"}, OnEmptyPool: v1beta1.OnEmptyPoolWait,
		},
	}, metav1.CreateOptions{})
	if err == nil {
		t.Fatalf("a claim of a pool that is not there: %+v", made)
	}
	cluster.Pool(t, ns, "later", 0)
	made, err = claims.Create(ctx, &v1beta1.SandboxClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"of": "tests"}},
		Spec: v1beta1.SandboxClaimSpec{
			WarmPoolRef: &v1beta1.ObjectReference{Name: "later"}, OnEmptyPool: v1beta1.OnEmptyPoolWait,
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lister := informer.Lister().SandboxClaims(ns)
	sandboxtest.Eventually(t, "claim in the lister", func() (bool, string) {
		found, err := lister.List(labels.SelectorFromSet(labels.Set{"of": "tests"}))
		return err == nil && len(found) == 1 && found[0].UID == made.UID, errorText(err)
	})
	made.Labels["of"] = "others"
	if made, err = claims.Update(ctx, made, metav1.UpdateOptions{}); err != nil || made.Labels["of"] != "others" {
		t.Fatal(made, err)
	}
	scale, err := cluster.Ours.SandboxV1beta1().SandboxWarmPools(ns).GetScale(ctx, "later", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 0 {
		t.Errorf("%+v %v", scale, err)
	}
	watched, err := claims.Watch(ctx, metav1.ListOptions{ResourceVersion: made.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer watched.Stop()
	if err := claims.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	var seen []string
	for event := range watched.ResultChan() {
		if seen = append(seen, string(event.Type)); event.Type == "DELETED" {
			break
		}
	}
	if !slices.Contains(seen, "DELETED") {
		t.Errorf("%v", seen)
	}
	sandboxtest.Eventually(t, "deletion in the lister", func() (bool, string) {
		_, err := lister.Get("a")
		return err != nil, "it is there"
	})
}
