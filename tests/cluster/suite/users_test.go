package suite

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// authority of .dev/pki, or one of a test's own.
type authority struct {
	certificate *x509.Certificate
	key         any
}

func pki(file string) string { return filepath.Join(env.DevDir, "pki", file) }

func loadAuthority(t *testing.T, name string) authority {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(pki(name+".crt"), pki(name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, pair.PrivateKey}
}

// newAuthority signs itself; returns its certificate and key in PEM too.
func newAuthority(t *testing.T, commonName string) (made authority, certificatePEM, keyPEM []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          serial(t),
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key}, encode("CERTIFICATE", der), encodeKey(t, key)
}

// mint a client certificate and its key, both in PEM.
func (a authority) mint(t *testing.T, commonName string, groups ...string) (certificate, key []byte) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber:          serial(t),
		Subject:               pkix.Name{CommonName: commonName, Organization: groups},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	private := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("CERTIFICATE", der), encodeKey(t, private)
}

func encodeKey(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return encode("PRIVATE KEY", pkcs8)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serial(t *testing.T) *big.Int {
	t.Helper()
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	return number
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// user of the cluster with a certificate of its client CA.
func user(t *testing.T, name string, groups ...string) *rest.Config {
	t.Helper()
	certificate, key := loadAuthority(t, "ca").mint(t, name, groups...)
	config := rest.AnonymousClientConfig(admin)
	config.QPS = -1
	config.CertData, config.KeyData = certificate, key
	return config
}

// directly reaches our server itself, past kube-apiserver; without certificate when that is nil.
func directly(t *testing.T, certificate, key []byte) *rest.Config {
	t.Helper()
	trusted, err := os.ReadFile(pki("serving-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	return &rest.Config{
		Host:            env.Server,
		TLSClientConfig: rest.TLSClientConfig{CAData: trusted, CertData: certificate, KeyData: key},
	}
}

// asDirectly is the same user without the front.
func asDirectly(t *testing.T, config *rest.Config) *rest.Config {
	t.Helper()
	return directly(t, config.CertData, config.KeyData)
}

func bind(t *testing.T, namespace, kind, role string, subject rbacv1.Subject) {
	t.Helper()
	_, err := core.RbacV1().RoleBindings(namespace).Create(context.Background(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: role + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
		Subjects:   []rbacv1.Subject{subject},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func bindUser(t *testing.T, namespace, kind, role, name string) {
	t.Helper()
	bind(t, namespace, kind, role, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name})
}
