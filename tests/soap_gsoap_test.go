package tests

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// gSOAP reads the whole of both descriptions in the first and the last edition, with nothing in them that it skips but the hints for Java, and makes a
// class of C++ with each operation, which compiles. Compiling all functions of the classes takes many minutes: TestGSOAP runs some.
func TestGSOAPReadsAll(t *testing.T) {
	long(t)
	t.Parallel()
	tool(t, "wsdl2h")
	tool(t, "soapcpp2")
	compiler := tool(t, "g++")
	if _, err := os.Stat("/usr/include/stdsoap2.h"); err != nil {
		tool(t, "libgsoap-dev")
	}
	r := serveSOAP(t)
	operation := regexp.MustCompile(`<wsdl:operation name="(\w+)"`)
	skipped := regexp.MustCompile(`(?im)^.*(warning|error|cannot).*$`)
	for _, edition := range []int{3, 6} { // the others differ from these in single elements, and take as long
		for _, query := range []string{"wsdl", "wsdl=events"} {
			dir := t.TempDir()
			_ = os.Mkdir(filepath.Join(dir, "xsd"), 0o700)
			path := fmt.Sprintf("/csta/ed%d?%s", edition, query)
			_, _, description := overHTTP(t, http.DefaultClient, "GET", r.plain+path, "")
			files := map[string]string{"csta.wsdl": description}
			for _, name := range []string{fmt.Sprintf("xsd/ed%d.xsd", edition), "xsd/session.xsd"} {
				_, _, files[name] = overHTTP(t, http.DefaultClient, "GET", r.plain+"/csta/"+name, "")
			}
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			run := func(name string, args ...string) string {
				t.Helper()
				command := exec.CommandContext(t.Context(), name, args...)
				command.Dir = dir
				out, err := command.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %s: %v\n%s", path, name, err, out[max(0, len(out)-2000):])
				}
				return string(out)
			}
			for _, line := range skipped.FindAllString(run("wsdl2h", "-O4", "-o", "csta.h", "csta.wsdl"), -1) {
				if !strings.Contains(line, "jaxws:bindings") && !strings.Contains(line, "jakarta:bindings") && !strings.Contains(line, "service bindings found, but collected as one service") {
					t.Errorf("%s: %s", path, line)
				}
			}
			run("soapcpp2", "-j", "-w", "-x", "-L", "csta.h")
			headers, err := filepath.Glob(filepath.Join(dir, "soap*Proxy.h"))
			if err != nil || len(headers) != 1 {
				t.Fatal(headers, err)
			}
			class, err := os.ReadFile(headers[0])
			if err != nil {
				t.Fatal(err)
			}
			operations := operation.FindAllStringSubmatch(description, -1)
			if len(operations) < 40 {
				t.Errorf("%s: %d operations", path, len(operations))
			}
			for _, found := range operations {
				if !regexp.MustCompile(`virtual int ` + found[1] + `_*\(`).Match(class) {
					t.Errorf("%s: the class has no %s", path, found[1])
				}
			}
			run(compiler, "-fsyntax-only", "-w", "-x", "c++", headers[0])
			run(compiler, "-fsyntax-only", "-w", "-x", "c++", strings.Replace(headers[0], "Proxy.h", "Service.h", 1))
		}
	}
	r.stop()
}
