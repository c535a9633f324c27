package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// SandboxWarmPool keeps a stock of ready, unclaimed Sandboxes of a template.
//
// +genclient
// +genclient:method=GetScale,verb=get,subresource=scale,result=k8s.io/api/autoscaling/v1.Scale
// +genclient:method=UpdateScale,verb=update,subresource=scale,input=k8s.io/api/autoscaling/v1.Scale,result=k8s.io/api/autoscaling/v1.Scale
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type SandboxWarmPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   SandboxWarmPoolSpec   `json:"spec"`
	Status SandboxWarmPoolStatus `json:"status,omitempty"`
}

// SandboxWarmPoolList is a list of SandboxWarmPools.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type SandboxWarmPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []SandboxWarmPool `json:"items"`
}

// SandboxWarmPoolSpec is what is asked of a pool.
type SandboxWarmPoolSpec struct {
	// How many Sandboxes to keep in stock; claimed ones do not count. 1 if not set.
	Replicas *int32 `json:"replicas,omitempty"`
	// The template of the Sandboxes.
	SandboxTemplateRef ObjectReference `json:"sandboxTemplateRef"`
	// What happens to the stock when the template changes.
	UpdateStrategy *UpdateStrategy `json:"updateStrategy,omitempty"`
	// What becomes of claims that wait for the pool when it is deleted.
	DeletionPolicy *PoolDeletionPolicy `json:"deletionPolicy,omitempty"`
}

// UpdateStrategy is what happens to the stock when the template changes.
type UpdateStrategy struct {
	// OnReplenish if not set.
	Type UpdateStrategyType `json:"type,omitempty"`
	// The pace of RollingUpdate.
	RollingUpdate *RollingUpdate `json:"rollingUpdate,omitempty"`
}

// UpdateStrategyType is the kind of an update strategy.
type UpdateStrategyType string

const (
	// UpdateRecreate replaces stale stock at once.
	UpdateRecreate UpdateStrategyType = "Recreate"
	// UpdateOnReplenish lets it be used up.
	UpdateOnReplenish UpdateStrategyType = "OnReplenish"
	// UpdateRolling replaces it step by step and gives none of it to claims.
	UpdateRolling UpdateStrategyType = "RollingUpdate"
)

// RollingUpdate is the pace of a rolling update: numbers of Sandboxes, or shares of replicas as in "25%".
type RollingUpdate struct {
	// How many Sandboxes may be in stock above replicas; shares are rounded up.
	MaxSurge *intstr.IntOrString `json:"maxSurge,omitempty"`
	// How many of replicas may be missing from the ready stock; shares are rounded down.
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// PoolDeletionPolicy is what becomes of what belongs to a deleted pool.
type PoolDeletionPolicy struct {
	// The claims that wait for stock of the pool: Retain keeps them unbound, Delete deletes them. Retain if not set.
	Claims ClaimsOnDeletion `json:"claims,omitempty"`
}

// ClaimsOnDeletion is what becomes of claims that wait for a deleted pool.
type ClaimsOnDeletion string

const (
	ClaimsRetained ClaimsOnDeletion = "Retain"
	ClaimsDeleted  ClaimsOnDeletion = "Delete"
)

// SandboxWarmPoolStatus is what the server observed of a warm pool.
type SandboxWarmPoolStatus struct {
	// How many Sandboxes are in stock, ready or not.
	Replicas int32 `json:"replicas"`
	// How many Sandboxes are in stock and ready.
	ReadyReplicas int32 `json:"readyReplicas"`
	// How many Sandboxes in stock are of the template's present revision.
	UpdatedReplicas int32 `json:"updatedReplicas"`
	// How many of them are ready.
	UpdatedReadyReplicas int32 `json:"updatedReadyReplicas"`
	// How many Sandboxes of the pool were claimed in the last minute.
	ClaimedPerMinute int32 `json:"claimedPerMinute"`
	// The template's revision that the stock is brought to.
	TemplateRevision string `json:"templateRevision,omitempty"`
	// A label selector that finds the Pods in stock, for autoscalers.
	Selector string `json:"selector,omitempty"`
	// The generation that this status was made from.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Ready: whether the stock is complete, and if not, why.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
