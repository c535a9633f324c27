package cmd

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"sandbox-apiserver.local/clients/go/apis/sandbox/v1beta1"
)

const (
	apiServicePath = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1." + group
	// soon is when a certificate that ends is worth a word.
	soon = 14 * 24 * time.Hour
	// slow is when a read of one object is.
	slow = time.Second
)

type level int

const (
	fine level = iota
	doubtful
	wrong
)

// finding is what is found of one thing, and what to do about it.
type finding struct {
	level        level
	what, detail string
	advice       string
}

func newDoctor(p *plugin) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong, and say what to do",
		Long: `Look for what is wrong, and say what to do: how the API is registered and whether it answers, certificates, your
rights, the store, pools and claims of the namespace. It changes nothing. The exit code is 1 if something does not work.`,
		Example: `  kubectl sandbox doctor -n my-namespace

  # With the eyes of somebody else
  kubectl sandbox doctor -n my-namespace --as=system:serviceaccount:my-namespace:agent`,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return p.asking(func(ctx context.Context, a *asked) error {
				failed := false
				for _, look := range []func(context.Context) []finding{a.lookAtServer, a.lookAtAPIService, a.lookAtStore, a.lookAtRights, a.lookAtPools, a.lookAtClaims, a.lookAtSandboxes} {
					for _, found := range look(ctx) {
						p.tell(found)
						failed = failed || found.level == wrong
					}
				}
				if failed {
					return cmdutil.ErrExit
				}
				return nil
			})
		},
	}
}

func (p *plugin) tell(found finding) {
	mark := map[level]string{
		fine: painted(p.Out, 32, "ok   "), doubtful: painted(p.Out, 33, "warn "), wrong: painted(p.Out, 31, "fail "),
	}[found.level]
	fmt.Fprintf(p.Out, "%s %s: %s\n", mark, found.what, found.detail)
	if found.advice != "" {
		fmt.Fprintf(p.Out, "      %s\n", found.advice)
	}
}

func (a *asked) lookAtServer(context.Context) []finding {
	version, err := a.core.Discovery().ServerVersion()
	if err != nil {
		return []finding{{wrong, "kube-apiserver", err.Error(), "Check --kubeconfig and --context, and that the cluster is up."}}
	}
	return []finding{{fine, "kube-apiserver", "answers, " + version.GitVersion, ""}}
}

// apiService is what of an APIService is looked at.
type apiService struct {
	Spec struct {
		CABundle              []byte
		InsecureSkipTLSVerify bool
		Service               *struct{ Namespace, Name string }
	}
	Status struct{ Conditions []metav1.Condition }
}

func (a *asked) lookAtAPIService(ctx context.Context) []finding {
	const what = "APIService v1beta1." + group
	text, err := a.core.Discovery().RESTClient().Get().AbsPath(apiServicePath).DoRaw(ctx)
	switch {
	case apierrors.IsForbidden(err):
		return []finding{{doubtful, what, "you may not look at it", "Whoever runs the cluster can: kubectl get apiservice v1beta1." + group}}
	case apierrors.IsNotFound(err):
		return []finding{{wrong, what, "is not registered", "Install the server: apply deploy/ with an APIService of the group " + group + "."}}
	case err != nil:
		return []finding{{wrong, what, err.Error(), ""}}
	}
	var service apiService
	if err := json.Unmarshal(text, &service); err != nil {
		return []finding{{wrong, what, err.Error(), ""}}
	}
	return append(judgeAPIService(what, service), judgeBundle(service.Spec.CABundle, time.Now())...)
}

func judgeAPIService(what string, service apiService) (found []finding) {
	available := condition(service.Status.Conditions, "Available")
	switch {
	case available == nil:
		found = append(found, finding{wrong, what, "nobody has looked at it yet", "kube-apiserver does so within a minute; if not, see its log."})
	case available.Status != metav1.ConditionTrue:
		found = append(found, finding{wrong, what, available.Reason + ": " + available.Message, advice(available.Reason, service)})
	default:
		found = append(found, finding{fine, what, "is available", ""})
	}
	if service.Spec.InsecureSkipTLSVerify {
		found = append(found, finding{doubtful, what, "the server's certificate is not verified", "Set spec.caBundle instead of spec.insecureSkipTLSVerify."})
	}
	return found
}

// advice for the reasons that `[kube-aggregator] pkg/controllers/status/remote` gives.
func advice(reason string, service apiService) string {
	where := "its Service"
	if of := service.Spec.Service; of != nil {
		where = fmt.Sprintf("the Service %s/%s", of.Namespace, of.Name)
	}
	switch reason {
	case "ServiceNotFound", "ServicePortError":
		return "Make " + where + ", with the port that the APIService names."
	case "EndpointsNotFound", "MissingEndpoints", "EndpointsPortError":
		return "No Pod of the server is ready behind " + where + ": look at its readiness (/readyz?verbose) and its log."
	case "FailedDiscoveryCheck":
		return "The server does not answer kube-apiserver: look at the certificate and its names, spec.caBundle, network policies and the server's log."
	}
	return "Look at " + where + " and at the server's log."
}

func judgeBundle(bundle []byte, now time.Time) (found []finding) {
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return found
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			found = append(found, finding{wrong, "caBundle", err.Error(), "Put the PEM of the CA of the server's certificate there."})
			continue
		}
		until := certificate.NotAfter.UTC().Format(time.RFC3339)
		switch what := "certificate of " + certificate.Subject.CommonName; {
		case now.After(certificate.NotAfter):
			found = append(found, finding{wrong, what, "ended at " + until, "Make a new one, and update spec.caBundle with it."})
		case now.Add(soon).After(certificate.NotAfter):
			found = append(found, finding{doubtful, what, "ends at " + until, "Make a new one in time, and update spec.caBundle with it."})
		default:
			found = append(found, finding{fine, what, "valid until " + until, ""})
		}
	}
}

func (a *asked) lookAtStore(ctx context.Context) []finding {
	began := time.Now()
	// Without a resourceVersion it is read from the store and not from a cache.
	_, err := a.objects.SandboxV1beta1().Sandboxes(a.namespace).List(ctx, metav1.ListOptions{Limit: 1})
	took := time.Since(began)
	switch {
	case apierrors.IsForbidden(err):
		return []finding{{fine, "server", "answers; you may not list sandboxes in " + a.namespace, ""}}
	case apierrors.IsServiceUnavailable(err), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return []finding{{wrong, "server", err.Error(), "The server or its store is away: see its /readyz?verbose, its log, and the etcd it uses."}}
	case err != nil:
		return []finding{{wrong, "server", err.Error(), "See the server's log."}}
	case took > slow:
		return []finding{{doubtful, "server", fmt.Sprintf("a read of the store took %s", took.Round(time.Millisecond)), "Look at the etcd's disk and load, and at etcd_request_duration_seconds of the server."}}
	}
	return []finding{{fine, "server", fmt.Sprintf("answers from its store in %s", took.Round(time.Millisecond)), ""}}
}

// rights that somebody needs for what this plugin does.
var rights = []struct{ what, verb, resource, subresource string }{
	{"claim", "create", "sandboxwarmpools", "claim"},
	{"release", "delete", "sandboxclaims", ""},
	{"exec", "create", "sandboxes", "exec"},
	{"exec, by a claim", "create", "sandboxclaims", "exec"},
	{"attach", "create", "sandboxes", "attach"},
	{"logs", "get", "sandboxes", "log"},
	{"port-forward", "create", "sandboxes", "portforward"},
	{"suspend", "create", "sandboxes", "suspend"},
	{"resume, and use of what is suspended", "create", "sandboxes", "resume"},
	{"restart", "create", "sandboxes", "restart"},
	{"look at sandboxes", "list", "sandboxes", ""},
	{"look at claims", "list", "sandboxclaims", ""},
	{"look at pools", "list", "sandboxwarmpools", ""},
}

func (a *asked) lookAtRights(ctx context.Context) []finding {
	var may, mayNot []string
	for _, right := range rights {
		review, err := a.core.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
				Namespace: a.namespace, Verb: right.verb, Group: group, Resource: right.resource, Subresource: right.subresource,
			}},
		}, metav1.CreateOptions{})
		if err != nil {
			return []finding{{doubtful, "rights", err.Error(), ""}}
		}
		if review.Status.Allowed {
			may = append(may, right.what)
			continue
		}
		resource := right.resource
		if right.subresource != "" {
			resource += "/" + right.subresource
		}
		mayNot = append(mayNot, fmt.Sprintf("%s (%s %s)", right.what, right.verb, resource))
	}
	if len(mayNot) == 0 {
		return []finding{{fine, "rights in " + a.namespace, "you may do all that this plugin does", ""}}
	}
	found := []finding{{doubtful, "rights in " + a.namespace, "you may not: " + strings.Join(mayNot, ", "), "Ask for a Role with what you need of these."}}
	if len(may) > 0 {
		found = append(found, finding{fine, "rights in " + a.namespace, "you may: " + strings.Join(may, ", "), ""})
	}
	return found
}

func (a *asked) lookAtPools(ctx context.Context) (found []finding) {
	pools, err := a.objects.SandboxV1beta1().SandboxWarmPools(a.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return unlooked("pools", err)
	}
	if len(pools.Items) == 0 {
		return []finding{{fine, "pools", "there are none in " + a.namespace, ""}}
	}
	for i := range pools.Items {
		found = append(found, judgePool(&pools.Items[i]))
	}
	return found
}

func judgePool(pool *v1beta1.SandboxWarmPool) finding {
	what, state := "pool "+pool.Name, poolState(pool)
	ready := condition(pool.Status.Conditions, "Ready")
	switch {
	case ready == nil:
		return finding{doubtful, what, "nobody has looked at it yet", "If it stays so, the server's loop does not run: see its log."}
	case ready.Status == metav1.ConditionTrue:
		return finding{fine, what, state, ""}
	}
	return finding{doubtful, what, fmt.Sprintf("%s: %s: %s", state, ready.Reason, ready.Message), "kubectl sandbox tree pool/" + pool.Name + " shows its members; kubectl describe sandboxwarmpool " + pool.Name + " its story."}
}

func (a *asked) lookAtClaims(ctx context.Context) []finding {
	claims, err := a.objects.SandboxV1beta1().SandboxClaims(a.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return unlooked("claims", err)
	}
	var waiting []string
	for i := range claims.Items {
		if claim := &claims.Items[i]; claim.Status.WaitingSince != nil {
			waiting = append(waiting, claim.Name)
		}
	}
	if len(waiting) == 0 {
		return []finding{{fine, "claims", fmt.Sprintf("%d in %s, none waits for stock", len(claims.Items), a.namespace), ""}}
	}
	return []finding{{doubtful, "claims", fmt.Sprintf("%d wait for stock: %s", len(waiting), shortened(waiting)), "Their pool is too small, or does not refill: see above."}}
}

func (a *asked) lookAtSandboxes(ctx context.Context) (found []finding) {
	boxes, err := a.objects.SandboxV1beta1().Sandboxes(a.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return unlooked("sandboxes", err)
	}
	for i := range boxes.Items {
		box := &boxes.Items[i]
		ready := condition(box.Status.Conditions, "Ready")
		// Those that have just begun may not be ready.
		if ready == nil || ready.Status == metav1.ConditionTrue || box.Spec.OperatingMode == v1beta1.OperatingModeSuspended || time.Since(ready.LastTransitionTime.Time) < time.Minute {
			continue
		}
		found = append(found, finding{doubtful, "sandbox " + box.Name, ready.Reason + ": " + ready.Message, "kubectl describe sandbox " + box.Name})
	}
	if len(found) == 0 {
		found = []finding{{fine, "sandboxes", fmt.Sprintf("%d in %s, none is in trouble", len(boxes.Items), a.namespace), ""}}
	}
	return found
}

// unlooked is for what can't be listed. A server that does not answer was told already.
func unlooked(what string, err error) []finding {
	if apierrors.IsForbidden(err) {
		return []finding{{doubtful, what, "you may not look at them", ""}}
	}
	return nil
}

func shortened(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
