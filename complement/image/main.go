// The entry point of the Complement image: makes the certificate of this start, then becomes Myelin.
//
// Complement names the server in SERVER_NAME, and puts a certificate authority into /complement/ca and registrations of
// application services into /complement/appservice. Containers of one image are started under several names, so a
// certificate can't be part of the image.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	authorityFolder   = "/complement/ca"
	registrationFiles = "/complement/appservice/*.yaml"
	tlsFolder         = "/tls" // what /myelin.toml names
	server            = "/bin/myelin"
	configuration     = "/myelin.toml"
)

func main() {
	log.SetFlags(0)
	name := os.Getenv("SERVER_NAME")
	if name == "" {
		log.Fatal("SERVER_NAME is not set: this image is made for Complement")
	}
	if err := writeCertificate(authorityFolder, tlsFolder, name, time.Now()); err != nil {
		log.Fatalf("the certificate of %s: %v", name, err)
	}
	environment := append(os.Environ(), "MYELIN_SERVER_NAME="+name)
	// The pattern is well-formed, and nothing else can fail.
	if registrations, _ := filepath.Glob(registrationFiles); len(registrations) > 0 {
		environment = append(environment, "MYELIN_APPSERVICES_REGISTRATIONS="+strings.Join(registrations, ","))
	}
	// In place of this process, so that signals reach the server itself.
	err := syscall.Exec(server, []string{server, "serve", "--config", configuration}, environment)
	log.Fatalf("%s: %v", server, err)
}

// writeCertificate writes certificate.pem and key.pem for the host `name`, signed by the authority of a folder.
func writeCertificate(authorityFolder, folder, name string, now time.Time) error {
	authority, err := tls.LoadX509KeyPair(filepath.Join(authorityFolder, "ca.crt"), filepath.Join(authorityFolder, "ca.key"))
	if err != nil {
		return fmt.Errorf("the authority: %w", err)
	}
	certificate, key, err := certify(authority.Leaf, authority.PrivateKey, name, now)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	if err := writePEM(filepath.Join(folder, "certificate.pem"), "CERTIFICATE", certificate); err != nil {
		return err
	}
	return writePEM(filepath.Join(folder, "key.pem"), "PRIVATE KEY", key)
}

// certify returns a certificate for the host `name` and its private key (PKCS #8), both as DER.
func certify(authority *x509.Certificate, authorityKey crypto.PrivateKey, name string, now time.Time) ([]byte, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := x509.Certificate{
		SerialNumber: serial,
		DNSNames:     []string{name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(30 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, &template, authority, key.Public(), authorityKey)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	return certificate, encoded, err
}

func writePEM(path, kind string, bytes []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600)
}
