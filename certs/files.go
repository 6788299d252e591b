package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func encodeCertificates(ders ...[]byte) []byte {
	var out bytes.Buffer
	for _, der := range ders {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return out.Bytes()
}

// writePair writes a key and its certificates, or neither.
func writePair(folder, name string, key crypto.Signer, ders ...[]byte) error {
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	return writeNew(map[string][]byte{
		filepath.Join(folder, name+".key"): keyPEM,
		filepath.Join(folder, name+".pem"): encodeCertificates(ders...),
	})
}

// writeNew creates all files, or none if one exists. Only certificates are readable by others.
func writeNew(files map[string][]byte) (err error) {
	var made []string
	defer func() {
		if err != nil {
			for _, path := range made {
				_ = os.Remove(path) // created by this call
			}
		}
	}()
	for path, data := range files {
		mode := os.FileMode(0o600)
		if ending := filepath.Ext(path); ending == ".pem" || ending == ".csr" {
			mode = 0o644
		}
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if errors.Is(err, os.ErrExist) {
			return fmt.Errorf("%s already exists; it is not overwritten", path)
		}
		if err != nil {
			return err
		}
		made = append(made, path)
		_, err = f.Write(data)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

const maxFile = 1 << 20

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s is larger than %d octets", path, maxFile)
	}
	return os.ReadFile(path)
}

// certificates reads the certificates in a PEM file.
func certificates(path string) ([]*x509.Certificate, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var list []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		list = append(list, cert)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s has no certificate", path)
	}
	return list, nil
}

// load reads a certificate and its key.
func load(folder, name string) (*x509.Certificate, crypto.Signer, error) {
	chain, err := certificates(filepath.Join(folder, name+".pem"))
	if err != nil {
		return nil, nil, err
	}
	path := filepath.Join(folder, name+".key")
	data, err := readFile(path)
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, nil, fmt.Errorf("%s has no key", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, nil, fmt.Errorf("%s has no key that can sign", path)
	}
	return chain[0], signer, nil
}

// Listed is a certificate in a folder.
type Listed struct {
	File string
	*x509.Certificate
}

// List returns the certificates in a folder, by file name.
func List(folder string) ([]Listed, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.pem"))
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var list []Listed
	for _, path := range paths {
		chain, err := certificates(path)
		if err != nil {
			return nil, err
		}
		list = append(list, Listed{filepath.Base(path), chain[0]})
	}
	return list, nil
}
