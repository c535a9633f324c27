package v1beta1

import corev1 "k8s.io/api/core/v1"

// PodTemplate is the Pod of a Sandbox.
type PodTemplate struct {
	// Labels and annotations of the Pod.
	Metadata *PodMetadata `json:"metadata,omitempty"`
	// The Pod's specification. A change takes effect when the Pod is next started, for example by restart.
	Spec corev1.PodSpec `json:"spec"`
}

// PodMetadata is labels and annotations of a Pod. Keys that the server reserves for itself are not passed on.
type PodMetadata struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// VolumeClaimTemplate is a PersistentVolumeClaim that is made for a Sandbox and deleted with it. The Pod mounts it by
// its name.
type VolumeClaimTemplate struct {
	// Name, labels and annotations. The claim in the cluster is called <name>-<sandbox>.
	Metadata *EmbeddedMetadata `json:"metadata,omitempty"`
	// The PersistentVolumeClaim's specification.
	Spec corev1.PersistentVolumeClaimSpec `json:"spec"`
}

// EmbeddedMetadata is name, labels and annotations of an object to be made.
type EmbeddedMetadata struct {
	// The name; a DNS label.
	Name        string            `json:"name,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// ObjectReference is an object of the same namespace, by its name.
type ObjectReference struct {
	Name string `json:"name"`
}

// Isolation is how strongly the workload is kept apart from its node.
type Isolation struct {
	// The level asked for; never weakened.
	Level IsolationLevel `json:"level,omitempty"`
}

// IsolationLevel is a level of isolation.
type IsolationLevel string

const (
	// IsolationStandard is the node's default runtime, or the RuntimeClass that the Pod template names. The default.
	IsolationStandard IsolationLevel = "Standard"
	// IsolationUserKernel is a kernel in user space, as gVisor's.
	IsolationUserKernel IsolationLevel = "UserKernel"
	// IsolationVirtualMachine is a virtual machine of its own, as Kata's.
	IsolationVirtualMachine IsolationLevel = "VirtualMachine"
)
