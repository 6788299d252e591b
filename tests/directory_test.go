package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// slapd runs an LDAP server with the attributes of Active Directory that matter.
func slapd(t *testing.T, folder string, users map[string]string) (port int, server *process) {
	t.Helper()
	program := "/usr/sbin/slapd"
	if _, err := os.Stat(program); err != nil {
		program = tool(t, "slapd")
	}
	dir := t.TempDir()
	conf := fmt.Sprintf(`include /etc/ldap/schema/core.schema
attributetype ( 1.2.840.113556.1.4.7000.1 NAME 'msRTCSIP-PrimaryUserAddress' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.2.840.113556.1.4.7000.2 NAME 'msRTCSIP-Line' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.2.840.113556.1.4.7000.3 NAME 'rtcUser' SUP top STRUCTURAL MUST cn MAY ( msRTCSIP-PrimaryUserAddress $ msRTCSIP-Line ) )
TLSCACertificateFile %[1]s/ca.pem
TLSCertificateFile %[1]s/server.pem
TLSCertificateKeyFile %[1]s/server.key
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
directory %[2]s
suffix "dc=contoso,dc=com"
rootdn "cn=reader,dc=contoso,dc=com"
rootpw s3cret
`, folder, dir)
	file := filepath.Join(dir, "slapd.conf")
	ldif := "dn: dc=contoso,dc=com\nobjectClass: dcObject\nobjectClass: organization\no: Contoso\ndc: contoso\n"
	for who, line := range users {
		ldif += fmt.Sprintf("\ndn: cn=%[1]s,dc=contoso,dc=com\nobjectClass: rtcUser\ncn: %[1]s\nmsRTCSIP-PrimaryUserAddress: sip:%[1]s@Contoso.com\nmsRTCSIP-Line: %[2]s\n", who, line)
	}
	for name, content := range map[string]string{file: conf, filepath.Join(dir, "users.ldif"): ldif} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), strings.TrimSuffix(program, "slapd")+"slapadd", "-f", file, "-l", filepath.Join(dir, "users.ldif")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	port = freePort(t)
	server = start(t, program, "-f", file, "-h", fmt.Sprintf("ldaps://127.0.0.1:%d", port), "-d", "0")
	return port, server
}

// Whose lines are whose comes from an LDAP directory: who has a line in it may use it; when
// the directory is gone, what it said holds.
func TestDirectory(t *testing.T) {
	t.Parallel()
	folder := lab(t)
	users := map[string]string{"alice": "tel:+14255551000"}
	for n := range 1200 { // more than a page
		users[fmt.Sprint("user", n)] = fmt.Sprintf("tel:+1425777%04d;ext=%d", n, n)
	}
	port, server := slapd(t, folder, users)
	config := func(secret string) string {
		return fmt.Sprintf(`lines: {ldap: {url: "ldaps://localhost:%d", ca: %s/ca.pem, user: "cn=reader,dc=contoso,dc=com", password: %s, base: "dc=contoso,dc=com", refresh: 200ms}}
numbers: {main: "+1425555"}
trusted: [{address: 127.0.0.1}]
rules: [{name: own, who: ["sip:*@contoso.com"], may: [control], devices: [own], destinations: [internal]}]
`, port, folder, secret)
	}
	r := serve(t, config("s3cret"))
	waitFor(t, "the directory", func() bool { return strings.Contains(r.out.String(), "directory read") })
	server2 := fmt.Sprintf("--server=sip:x@127.0.0.1:%d;transport=tcp", r.port)
	for _, tt := range []struct {
		from, device string
		status       int
	}{{"sip:alice@contoso.com", "1000", 0}, {"sip:Alice@Contoso.com", "tel:+14255551000", 0}, {"sip:alice@contoso.com", "1001", 1}, {"sip:bob@contoso.com", "1000", 1}} {
		if out, status := command(t, "dnd", tt.device, "on", "--from", tt.from, server2); status != tt.status {
			t.Errorf("%s %s: %d %s", tt.from, tt.device, status, out)
		}
	}
	_ = server.cmd.Process.Kill()
	waitFor(t, "the complaint", func() bool { return strings.Contains(r.out.String(), "could not read directory") })
	if out, status := command(t, "dnd", "1000", "off", "--from", "sip:alice@contoso.com", server2); status != 0 {
		t.Error(out)
	}
	if strings.Contains(r.out.String(), "s3cret") {
		t.Error("the password stands in the log")
	}
	r.stop()
}
