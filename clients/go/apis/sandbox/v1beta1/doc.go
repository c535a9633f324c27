// Package v1beta1 has the types of sandbox.x-k8s.io/v1beta1.
//
// What is left empty is not sent, and the server fills in the default that the field's text tells.
//
// +k8s:deepcopy-gen=package
// +groupName=sandbox.x-k8s.io
package v1beta1
