package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// SandboxClaim asks for one Sandbox and owns it: one from the stock of a warm pool where there is one, else a new one.
//
// +genclient
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type SandboxClaim struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   SandboxClaimSpec   `json:"spec"`
	Status SandboxClaimStatus `json:"status,omitempty"`
}

// SandboxClaimList is a list of SandboxClaims.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type SandboxClaimList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []SandboxClaim `json:"items"`
}

// SandboxClaimSpec is what a claim asks for. Exactly one of WarmPoolRef and SandboxTemplateRef is set.
type SandboxClaimSpec struct {
	// The warm pool to take from. Immutable once bound.
	WarmPoolRef *ObjectReference `json:"warmPoolRef,omitempty"`
	// The template to make the Sandbox from; stock of any pool of that template will do. Immutable once bound.
	SandboxTemplateRef *ObjectReference `json:"sandboxTemplateRef,omitempty"`
	// What happens where no stock is ready; ColdStart if not set.
	OnEmptyPool OnEmptyPool `json:"onEmptyPool,omitempty"`
	// How many Sandboxes to bind, all or none; 1 if not set, at most 1000.
	Replicas *int32 `json:"replicas,omitempty"`
	// The longest time to wait for stock, as a Go duration. Only where OnEmptyPool is Wait.
	Timeout string `json:"timeout,omitempty"`
	// A key of the client's choice, at most 63 characters: a repeated request with the same key gets the Sandbox of the
	// first. Immutable.
	IdempotencyKey string `json:"idempotencyKey,omitempty"`
	// When the claim ends and what becomes of it then.
	Lifecycle *ClaimLifecycle `json:"lifecycle,omitempty"`
	// Labels and annotations for the Pod in addition to the template's.
	AdditionalPodMetadata *PodMetadata `json:"additionalPodMetadata,omitempty"`
	// Environment variables, if the template allows it. They force a cold start.
	Env []EnvVar `json:"env,omitempty"`
	// Volumes, if the template allows it. They force a cold start.
	VolumeClaimTemplates []VolumeClaimTemplate `json:"volumeClaimTemplates,omitempty"`
}

// OnEmptyPool is what happens to a claim where no stock is ready.
type OnEmptyPool string

const (
	// OnEmptyPoolColdStart makes a new Sandbox.
	OnEmptyPoolColdStart OnEmptyPool = "ColdStart"
	// OnEmptyPoolFail rejects the claim with the reason PoolExhausted.
	OnEmptyPoolFail OnEmptyPool = "Fail"
	// OnEmptyPoolWait keeps the claim until there is stock.
	OnEmptyPoolWait OnEmptyPool = "Wait"
)

// ClaimLifecycle is when a claim ends and what becomes of it then. The earlier of the two moments counts.
type ClaimLifecycle struct {
	// The moment from which the claim is expired.
	ShutdownTime *metav1.Time `json:"shutdownTime,omitempty"`
	// Seconds from the end of the workload to the expiry of the claim.
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`
	// What becomes of an expired claim; Retain if not set.
	ShutdownPolicy ClaimShutdownPolicy `json:"shutdownPolicy,omitempty"`
}

// ClaimShutdownPolicy is what becomes of an expired claim.
type ClaimShutdownPolicy string

const (
	// ClaimDelete deletes the claim and its Sandbox.
	ClaimDelete ClaimShutdownPolicy = "Delete"
	// ClaimDeleteForeground deletes the claim after its Sandbox and Pod are gone.
	ClaimDeleteForeground ClaimShutdownPolicy = "DeleteForeground"
	// ClaimRetain keeps the claim and deletes its Sandbox.
	ClaimRetain ClaimShutdownPolicy = "Retain"
)

// EnvVar is an environment variable for one container.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	// The container to set it in; without a name, the first.
	ContainerName string `json:"containerName,omitempty"`
}

// SandboxClaimStatus is what the server observed of a SandboxClaim.
type SandboxClaimStatus struct {
	// The generation that this status was made from.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Ready and Finished.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The Sandbox that the claim is bound to.
	Sandbox *BoundSandbox `json:"sandbox,omitempty"`
	// All Sandboxes of a claim with more than one; the first of them is also in Sandbox.
	Sandboxes []BoundSandbox `json:"sandboxes,omitempty"`
	// When the claim was bound.
	BoundTime *metav1.Time `json:"boundTime,omitempty"`
	// Since when the claim waits for stock; who waits longer is served first.
	WaitingSince *metav1.MicroTime `json:"waitingSince,omitempty"`
	// How many claims are to be served before this one, while it waits for stock. From time to time brought up to date.
	QueuePosition *int64 `json:"queuePosition,omitempty"`
}

// BoundSandbox is the Sandbox of a claim, with what a client needs to reach it.
type BoundSandbox struct {
	// The Sandbox's name. One from stock keeps the name its pool gave it.
	Name string `json:"name"`
	// The Sandbox's UID.
	UID string `json:"uid,omitempty"`
	// The addresses of the Pod, while there is one.
	PodIPs []string `json:"podIPs,omitempty"`
	// The node of the Pod, while there is one.
	NodeName string `json:"nodeName,omitempty"`
	// The DNS name of the Service, while there is one.
	ServiceFQDN string `json:"serviceFQDN,omitempty"`
	// Whether the Sandbox came from stock or was made for this claim.
	LaunchType LaunchType `json:"launchType,omitempty"`
}

// LaunchType is where the Sandbox of a claim came from.
type LaunchType string

const (
	LaunchWarm LaunchType = "Warm"
	LaunchCold LaunchType = "Cold"
)
