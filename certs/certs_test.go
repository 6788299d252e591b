package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const year = 365 * 24 * time.Hour

func lab(t *testing.T, rsa bool) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "lab")
	if err := Init(folder, "Lab", 10*year, rsa); err != nil {
		t.Fatal(err)
	}
	return folder
}

// verify checks a certificate against the folder's authority, for a purpose and a name.
func verify(t *testing.T, folder, name, host string, usage x509.ExtKeyUsage) error {
	t.Helper()
	ca, err := certificates(filepath.Join(folder, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca[0])
	chain, err := certificates(filepath.Join(folder, name+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{usage}})
	return err
}

func TestIssue(t *testing.T) {
	for _, rsa := range []bool{false, true} {
		folder := lab(t, rsa)
		for _, w := range []Wish{
			{Name: "proxy.contoso.com", Kind: Server, Names: []string{"proxy.contoso.com", "10.1.1.5", "sip:proxy@contoso.com"}, Valid: year, RSA: rsa},
			{Name: "crm", Kind: Client, Valid: year, RSA: rsa},
			{Name: "fe", Kind: Peer, Valid: 100 * year, RSA: rsa},
		} {
			if err := Issue(folder, w); err != nil {
				t.Fatal(err)
			}
			if err := Issue(folder, w); err == nil || !strings.Contains(err.Error(), "is not overwritten") {
				t.Errorf("%s again: %v", w.Name, err)
			}
			for ending, mode := range map[string]os.FileMode{".pem": 0o644, ".key": 0o600} {
				if info, err := os.Stat(filepath.Join(folder, w.Name+ending)); err != nil || info.Mode().Perm() != mode {
					t.Errorf("%s%s: %v %v", w.Name, ending, info.Mode(), err)
				}
			}
		}
		for _, tt := range []struct {
			name, host string
			usage      x509.ExtKeyUsage
			good       bool
		}{
			{"proxy.contoso.com", "proxy.contoso.com", x509.ExtKeyUsageServerAuth, true},
			{"proxy.contoso.com", "10.1.1.5", x509.ExtKeyUsageServerAuth, true},
			{"proxy.contoso.com", "other.contoso.com", x509.ExtKeyUsageServerAuth, false},
			{"proxy.contoso.com", "", x509.ExtKeyUsageClientAuth, false},
			{"crm", "", x509.ExtKeyUsageClientAuth, true},
			{"crm", "", x509.ExtKeyUsageServerAuth, false},
			{"fe", "fe", x509.ExtKeyUsageServerAuth, true},
			{"fe", "", x509.ExtKeyUsageClientAuth, true},
		} {
			if err := verify(t, folder, tt.name, tt.host, tt.usage); (err == nil) != tt.good {
				t.Errorf("%+v: %v", tt, err)
			}
		}
		// openssl is of the same opinion
		if openssl, err := exec.LookPath("openssl"); err == nil {
			out, err := exec.CommandContext(t.Context(), openssl, "verify", "-x509_strict", "-CAfile", filepath.Join(folder, "ca.pem"), filepath.Join(folder, "fe.pem")).CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}
	}
	folder := t.TempDir()
	if err := Issue(folder, Wish{Name: "x", Kind: Server}); !errors.Is(err, os.ErrNotExist) {
		t.Error("issued without authority:", err)
	}
	for _, w := range []Wish{{Name: "../x", Kind: Server}, {Name: "", Kind: Server}, {Name: "ca", Kind: Server}, {Name: "x", Kind: "both"}, {Name: "-x", Kind: Peer}, {Name: "x", Kind: Peer, Names: []string{"a b"}}, {Name: "x", Kind: Peer, Names: []string{"::::"}}} {
		if Issue(lab(t, false), w) == nil {
			t.Errorf("%+v is issued", w)
		}
	}
}

func TestRenew(t *testing.T) {
	folder := lab(t, false)
	if err := Issue(folder, Wish{Name: "fe", Kind: Peer, Names: []string{"fe.contoso.com", "10.1.1.5", "sip:fe@contoso.com"}, Valid: time.Hour}); err != nil {
		t.Fatal(err)
	}
	before, _, err := load(folder, "fe")
	if err != nil {
		t.Fatal(err)
	}
	if err := Renew(folder, "fe", year); err != nil {
		t.Fatal(err)
	}
	after, _, err := load(folder, "fe")
	if err != nil || after.SerialNumber.Cmp(before.SerialNumber) == 0 || len(after.URIs) != 1 || after.DNSNames[0] != "fe.contoso.com" || kindOf(after) != Peer || time.Until(after.NotAfter) < 300*24*time.Hour {
		t.Errorf("%+v, %v", after, err)
	}
	if kept, _ := filepath.Glob(filepath.Join(folder, "fe.*."+before.SerialNumber.Text(16))); len(kept) != 2 {
		t.Errorf("kept: %v", kept)
	}
	if Renew(folder, "ca", year) == nil || Renew(folder, "nobody", year) == nil {
		t.Error("renewed what it cannot")
	}
	if list, err := List(folder); err != nil || len(list) != 2 {
		t.Errorf("%v %v", list, err)
	}
}

func TestPKCS12(t *testing.T) {
	folder := lab(t, true)
	if err := Issue(folder, Wish{Name: "fe", Kind: Peer, Valid: year, RSA: true}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "fe.p12")
	if err := Export(folder, "fe", file, "s3cret"); err != nil {
		t.Fatal(err)
	}
	if err := Import(folder, "again", file, "wrong"); err == nil || strings.Contains(err.Error(), "wrong\"") {
		t.Error(err)
	}
	if err := Import(folder, "again", file, "s3cret"); err != nil {
		t.Fatal(err)
	}
	for _, ending := range []string{".pem", ".key"} {
		a, _ := os.ReadFile(filepath.Join(folder, "fe"+ending))
		b, _ := os.ReadFile(filepath.Join(folder, "again"+ending))
		if !bytes.Equal(a, b) {
			t.Error(ending, "is another")
		}
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o600 {
		t.Error(info.Mode())
	}
}

func TestRequestAndInspect(t *testing.T) {
	folder := lab(t, false)
	if err := Request(folder, Wish{Name: "proxy", Kind: Server, Names: []string{"proxy.contoso.com", "10.1.1.5"}}); err != nil {
		t.Fatal(err)
	}
	if err := Issue(folder, Wish{Name: "soon", Kind: Client, Valid: 72 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	for name, wants := range map[string][]string{
		"proxy.csr": {"request of=CN=proxy", "proxy.contoso.com 10.1.1.5", "ECDSA P-256"}, "proxy.key": {"private key=not shown"},
		"soon.pem": {"for=client", "only 2 days from now", "for=authority", "pin="}, "ca.pem": {"certificate of=CN=Lab", "3649 days from now"},
	} {
		var b bytes.Buffer
		list, err := Inspect(filepath.Join(folder, name), time.Now())
		for _, d := range list {
			for _, row := range d.Rows {
				b.WriteString(row.Name + "=" + row.Value + "\n")
			}
		}
		for _, want := range wants {
			if err != nil || !strings.Contains(b.String(), want) {
				t.Errorf("%s lacks %q: %v\n%s", name, want, err, &b)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "x"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Inspect(filepath.Join(folder, "x"), time.Now()); err == nil {
		t.Error("nonsense is inspected")
	}
}
