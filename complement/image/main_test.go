package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"path/filepath"
	"testing"
	"time"
)

// An authority as Complement makes it, in files of a folder.
func writeAuthority(t *testing.T, folder string, now time.Time) *x509.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(time.Hour),
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
	}
	made, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := writePEM(filepath.Join(folder, "ca.crt"), "CERTIFICATE", made); err != nil {
		t.Fatal(err)
	}
	if err := writePEM(filepath.Join(folder, "ca.key"), "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)); err != nil {
		t.Fatal(err)
	}
	authority, err := x509.ParseCertificate(made)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

func TestTheCertificateIsOfTheAuthorityAndOfTheName(t *testing.T) {
	now, folder, out := time.Now(), t.TempDir(), filepath.Join(t.TempDir(), "tls")
	authority := writeAuthority(t, folder, now)
	for _, name := range []string{"hs1", "hs2"} { // the second start replaces what the first one left
		if err := writeCertificate(folder, out, name, now); err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(filepath.Join(out, "certificate.pem"), filepath.Join(out, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AddCert(authority)
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); err != nil {
			t.Error(err)
		}
		if err := pair.Leaf.VerifyHostname("hs3"); err == nil {
			t.Error("it also names hs3")
		}
	}
}
