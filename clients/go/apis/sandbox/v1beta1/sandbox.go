package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Sandbox is one isolated, stateful workload with a stable identity: a Pod, and a Service and volumes if asked for. It
// can be suspended and resumed.
//
// +genclient
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type Sandbox struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   SandboxSpec   `json:"spec"`
	Status SandboxStatus `json:"status,omitempty"`
}

// SandboxList is a list of Sandboxes.
//
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object
type SandboxList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []Sandbox `json:"items"`
}

// SandboxSpec is what is asked of a Sandbox.
type SandboxSpec struct {
	// The Pod that runs the workload.
	PodTemplate PodTemplate `json:"podTemplate"`
	// Volumes that outlive the Pod and die with the Sandbox. Immutable.
	VolumeClaimTemplates []VolumeClaimTemplate `json:"volumeClaimTemplates,omitempty"`
	// True makes a headless Service of the Sandbox's name, false deletes the one it made; without a value an existing
	// Service stays and none is made.
	Service *bool `json:"service,omitempty"`
	// The moment from which the Sandbox is expired: its Pod and Service are deleted.
	ShutdownTime *metav1.Time `json:"shutdownTime,omitempty"`
	// What becomes of the Sandbox itself on expiry; Retain if not set.
	ShutdownPolicy ShutdownPolicy `json:"shutdownPolicy,omitempty"`
	// Running keeps a Pod; Suspended deletes it and keeps volumes, Service and identity. Running if not set.
	OperatingMode OperatingMode `json:"operatingMode,omitempty"`
	// How strongly the workload is kept apart from its node.
	Isolation *Isolation `json:"isolation,omitempty"`
}

// OperatingMode is whether a Sandbox shall have a Pod.
type OperatingMode string

const (
	OperatingModeRunning   OperatingMode = "Running"
	OperatingModeSuspended OperatingMode = "Suspended"
)

// ShutdownPolicy is what becomes of an expired Sandbox.
type ShutdownPolicy string

const (
	ShutdownPolicyDelete ShutdownPolicy = "Delete"
	ShutdownPolicyRetain ShutdownPolicy = "Retain"
)

// SandboxStatus is what the server observed of a Sandbox.
type SandboxStatus struct {
	// Where the Sandbox is in its life, in one word. Conditions say why.
	Phase SandboxPhase `json:"phase,omitempty"`
	// The generation that this status was made from.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Ready, Suspended, PodScheduled and Finished.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// The name of the Pod, while there is one.
	PodName string `json:"podName,omitempty"`
	// The addresses of the Pod, while there is one.
	PodIPs []string `json:"podIPs,omitempty"`
	// The node of the Pod, while there is one.
	NodeName string `json:"nodeName,omitempty"`
	// The name of the Service, while there is one.
	Service string `json:"service,omitempty"`
	// The DNS name of the Service, while there is one.
	ServiceFQDN string `json:"serviceFQDN,omitempty"`
	// A label selector that finds the Pod.
	Selector string `json:"selector,omitempty"`
	// When the present Pod was started.
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// When a stream to the Sandbox last moved a byte, began or ended. Known to the server that answers alone, since it
	// was started: never stored, and not in watches.
	LastActivityTime *metav1.Time `json:"lastActivityTime,omitempty"`
	// When the Sandbox was last suspended; empty while it runs.
	SuspendedTime *metav1.Time `json:"suspendedTime,omitempty"`
}

// SandboxPhase is where a Sandbox is in its life.
type SandboxPhase string

const (
	SandboxPending    SandboxPhase = "Pending"
	SandboxRunning    SandboxPhase = "Running"
	SandboxSuspending SandboxPhase = "Suspending"
	SandboxSuspended  SandboxPhase = "Suspended"
	SandboxResuming   SandboxPhase = "Resuming"
	SandboxSucceeded  SandboxPhase = "Succeeded"
	SandboxFailed     SandboxPhase = "Failed"
	SandboxExpired    SandboxPhase = "Expired"
)
