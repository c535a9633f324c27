package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/process"
)

// keypair of a server, in files.
type keypair struct{ file, key string }

// serviceName of a subject; a DNS label.
func serviceName(kind string) string { return "flunder-" + strings.ToLower(kind) }

// mint a serving certificate for both servers, by the CA that the APIServices trust.
func mint(pki, directory, namespace string) (keypair, error) {
	authority, err := tls.LoadX509KeyPair(filepath.Join(pki, "serving-ca.crt"), filepath.Join(pki, "serving-ca.key"))
	if err != nil {
		return keypair{}, err
	}
	parent, err := x509.ParseCertificate(authority.Certificate[0])
	if err != nil {
		return keypair{}, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keypair{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "bench"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{net.ParseIP(nodeAddress)},
	}
	for _, kind := range []string{ours, peer} {
		template.DNSNames = append(template.DNSNames, serviceName(kind)+"."+namespace+".svc")
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, private.Public(), authority.PrivateKey)
	if err != nil {
		return keypair{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return keypair{}, err
	}
	made := keypair{filepath.Join(directory, "bench.crt"), filepath.Join(directory, "bench.key")}
	if err := os.WriteFile(made.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return keypair{}, err
	}
	return made, os.WriteFile(made.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600)
}

// register a server with the aggregator; the result takes the registration back.
func (r *run) register(ctx context.Context, p *pair) (func() error, error) {
	namespace, name := r.home, serviceName(p.subject.name)
	port := int32(p.port)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https", Port: 443}}},
	}
	if _, err := r.core.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	ready, portName := true, "https"
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{nodeAddress}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:       []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
	}
	if _, err := r.core.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	trusted, err := os.ReadFile(filepath.Join(r.env.DevDir, "pki", "serving-ca.crt"))
	if err != nil {
		return nil, err
	}
	full := p.subject.version + "." + p.subject.group
	registrations := r.dyn.Resource(cluster.APIServices)
	_, err = registrations.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1",
		"kind":       "APIService",
		"metadata":   map[string]any{"name": full},
		"spec": map[string]any{
			"group": p.subject.group, "version": p.subject.version,
			"groupPriorityMinimum": int64(1000), "versionPriority": int64(15),
			"caBundle": trusted,
			"service":  map[string]any{"namespace": namespace, "name": name, "port": int64(443)},
		},
	}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	undo := func() error {
		// Even after an interrupt: without its server an APIService stops every namespace from ending.
		err := registrations.Delete(context.Background(), full, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	err = process.Await(ctx, "available APIService "+full, time.Minute, func() error {
		found, err := registrations.Get(ctx, full, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if status, reason, message := cluster.Condition(found, "Available"); status != "True" {
			return fmt.Errorf("%s: %s", reason, message)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w, %w", err, undo())
	}
	return undo, nil
}
