package v1beta1

import (
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SandboxTemplate is a blueprint for the Sandboxes of warm pools and claims.
//
// +genclient
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type SandboxTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   SandboxTemplateSpec   `json:"spec"`
	Status SandboxTemplateStatus `json:"status,omitempty"`
}

// SandboxTemplateList is a list of SandboxTemplates.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type SandboxTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []SandboxTemplate `json:"items"`
}

// SandboxTemplateSpec is what Sandboxes of a template are made of, and what claims may change.
type SandboxTemplateSpec struct {
	// The Pod that runs the workload.
	PodTemplate PodTemplate `json:"podTemplate"`
	// Volumes of each Sandbox.
	VolumeClaimTemplates []VolumeClaimTemplate `json:"volumeClaimTemplates,omitempty"`
	// True gives each Sandbox a headless Service.
	Service *bool `json:"service,omitempty"`
	// How strongly the workloads are kept apart from their nodes.
	Isolation *Isolation `json:"isolation,omitempty"`
	// The rules of the NetworkPolicy for all Sandboxes of this template; without it, a strict default policy.
	NetworkPolicy *TemplateNetworkPolicy `json:"networkPolicy,omitempty"`
	// Managed keeps a NetworkPolicy for the template; Unmanaged leaves that to others. Managed if not set.
	NetworkPolicyManagement NetworkPolicyManagement `json:"networkPolicyManagement,omitempty"`
	// Whether a claim may set environment variables; Disallowed if not set.
	EnvVarsInjectionPolicy InjectionPolicy `json:"envVarsInjectionPolicy,omitempty"`
	// Whether a claim may bring volumes; Disallowed if not set.
	VolumeClaimTemplatesPolicy InjectionPolicy `json:"volumeClaimTemplatesPolicy,omitempty"`
}

// TemplateNetworkPolicy is the rules of a NetworkPolicy. Both directions are always governed: an empty list denies all.
type TemplateNetworkPolicy struct {
	// Traffic allowed into the Pods; empty denies all.
	Ingress []networkingv1.NetworkPolicyIngressRule `json:"ingress,omitempty"`
	// Traffic allowed out of the Pods; empty denies all.
	Egress []networkingv1.NetworkPolicyEgressRule `json:"egress,omitempty"`
}

// NetworkPolicyManagement is who keeps the NetworkPolicy of a template.
type NetworkPolicyManagement string

const (
	NetworkPolicyManaged   NetworkPolicyManagement = "Managed"
	NetworkPolicyUnmanaged NetworkPolicyManagement = "Unmanaged"
)

// InjectionPolicy is what a claim may add to a template.
type InjectionPolicy string

const (
	// InjectionDisallowed lets it add nothing.
	InjectionDisallowed InjectionPolicy = "Disallowed"
	// InjectionAllowed lets it add new names.
	InjectionAllowed InjectionPolicy = "Allowed"
	// InjectionOverrides lets it also set values for existing names.
	InjectionOverrides InjectionPolicy = "Overrides"
)

// SandboxTemplateStatus is what the server observed of a SandboxTemplate.
type SandboxTemplateStatus struct {
	// The generation that this status was made from.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// A hash of what makes a Pod differ; Sandboxes made from another revision are stale.
	Revision string `json:"revision,omitempty"`
	// Who uses the template.
	Users *TemplateUsers `json:"users,omitempty"`
	// Ready: whether Sandboxes can be made from the template.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// TemplateUsers is how many objects of its namespace use a template.
type TemplateUsers struct {
	// Warm pools of the template.
	WarmPools int32 `json:"warmPools"`
	// Claims that name it.
	Claims int32 `json:"claims"`
}
