package tests

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tr87proxy/tr87proxy/tests/schema"
	"github.com/tr87proxy/tr87proxy/uacsta"
)

const (
	soap11 = "http://schemas.xmlsoap.org/soap/envelope/"
	soap12 = "http://www.w3.org/2003/05/soap-envelope"
)

// envelopesSchema describes envelopes: what they carry must be what the proxy's schemas describe. Faults are not qualified in
// SOAP 1.1.
const envelopesSchema = `<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:e="%[1]s" targetNamespace="%[1]s" elementFormDefault="qualified">
%[3]s<xs:element name="Envelope"><xs:complexType><xs:sequence>
<xs:element name="Header" minOccurs="0"><xs:complexType><xs:sequence><xs:any processContents="lax" minOccurs="0" maxOccurs="unbounded"/></xs:sequence></xs:complexType></xs:element>
<xs:element name="Body"><xs:complexType><xs:sequence><xs:any minOccurs="0"/></xs:sequence></xs:complexType></xs:element>
</xs:sequence></xs:complexType></xs:element>
<xs:element name="Fault"><xs:complexType><xs:sequence>%[2]s</xs:sequence></xs:complexType></xs:element>
</xs:schema>`

const (
	fault11 = `<xs:element name="faultcode" type="xs:QName" form="unqualified"/><xs:element name="faultstring" type="xs:string" form="unqualified"/>
<xs:element name="detail" minOccurs="0" form="unqualified"><xs:complexType><xs:sequence><xs:any/></xs:sequence></xs:complexType></xs:element>`
	fault12 = `<xs:element name="Code"><xs:complexType><xs:sequence><xs:element name="Value" type="xs:QName"/><xs:element name="Subcode" minOccurs="0"><xs:complexType><xs:sequence><xs:element name="Value" type="xs:QName"/></xs:sequence></xs:complexType></xs:element></xs:sequence></xs:complexType></xs:element>
<xs:element name="Reason"><xs:complexType><xs:sequence><xs:element name="Text"><xs:complexType><xs:simpleContent><xs:extension base="xs:string"><xs:anyAttribute processContents="skip"/></xs:extension></xs:simpleContent></xs:complexType></xs:element></xs:sequence></xs:complexType></xs:element>
<xs:element name="Detail" minOccurs="0"><xs:complexType><xs:sequence><xs:any/></xs:sequence></xs:complexType></xs:element>`
)

// eventingSchema describes what the Recommendation WS-Eventing of W3C has a source of events send. The proxy serves the version of 2004.
const eventingSchema = `<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:e="http://www.w3.org/2011/03/ws-evt" targetNamespace="http://www.w3.org/2011/03/ws-evt" elementFormDefault="qualified">
<xs:element name="Identifier" type="xs:anyURI"/>
<xs:complexType name="granted"><xs:sequence><xs:element name="GrantedExpires"><xs:simpleType><xs:union memberTypes="xs:dateTime xs:duration"/></xs:simpleType></xs:element></xs:sequence></xs:complexType>
<xs:element name="SubscribeResponse"><xs:complexType><xs:sequence><xs:element name="SubscriptionManager"><xs:complexType><xs:sequence><xs:any processContents="lax" maxOccurs="unbounded"/></xs:sequence></xs:complexType></xs:element><xs:element name="GrantedExpires"><xs:simpleType><xs:union memberTypes="xs:dateTime xs:duration"/></xs:simpleType></xs:element></xs:sequence></xs:complexType></xs:element>
<xs:element name="RenewResponse" type="e:granted"/>
<xs:element name="GetStatusResponse" type="e:granted"/>
<xs:element name="UnsubscribeResponse"><xs:complexType/></xs:element>
<xs:element name="Notify"><xs:complexType><xs:sequence><xs:any/></xs:sequence><xs:attribute name="actionURI" type="xs:anyURI" use="required"/></xs:complexType></xs:element>
<xs:element name="SubscriptionEnd"><xs:complexType><xs:sequence><xs:element name="Status"><xs:simpleType><xs:restriction base="xs:anyURI"><xs:enumeration value="http://www.w3.org/2011/03/ws-evt/DeliveryFailure"/><xs:enumeration value="http://www.w3.org/2011/03/ws-evt/SourceShuttingDown"/><xs:enumeration value="http://www.w3.org/2011/03/ws-evt/SourceCancelling"/></xs:restriction></xs:simpleType></xs:element><xs:element name="Reason" minOccurs="0" type="xs:string"/></xs:sequence></xs:complexType></xs:element>
</xs:schema>`

// soapSchema returns the file of a schema of envelopes, with those that a proxy serves for an edition.
func soapSchema(t *testing.T, url string, edition int) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fetch := func(path string) string {
		status, _, body := overHTTP(t, http.DefaultClient, "GET", url+path, "")
		if status != http.StatusOK {
			t.Fatalf("%s: %d", path, status)
		}
		return body
	}
	description := fetch(fmt.Sprintf("/csta/ed%d?wsdl", edition))
	_ = os.Mkdir(filepath.Join(dir, "xsd"), 0o700)
	imports := ""
	add := func(file, namespace string) {
		imports += fmt.Sprintf(`<xs:import namespace="%s" schemaLocation="%s"/>`+"\n", namespace, file)
	}
	for _, file := range []string{fmt.Sprintf("xsd/ed%d.xsd", edition), "xsd/session.xsd"} {
		text := fetch("/csta/" + file)
		write(file, text)
		add(file, target.FindStringSubmatch(text)[1])
	}
	prefixes := regexp.MustCompile(`(?s)<wsdl:definitions.*?>`).FindString(description)
	declared := strings.Join(regexp.MustCompile(`xmlns:\w+="[^"]*"`).FindAllString(prefixes, -1), " ")
	inline := regexp.MustCompile(`(?s)<xs:schema .*?</xs:schema>`).FindAllString(description, -1)
	names := map[string]string{}
	for i, text := range inline {
		names[target.FindStringSubmatch(text)[1]] = fmt.Sprintf("inline%d.xsd", i)
	}
	for namespace, name := range names {
		var text string
		for _, one := range inline {
			if target.FindStringSubmatch(one)[1] == namespace {
				text = strings.Replace(one, "<xs:schema ", "<xs:schema "+declared+" ", 1)
			}
		}
		for other, file := range names {
			text = strings.ReplaceAll(text, `<xs:import namespace="`+other+`"/>`, `<xs:import namespace="`+other+`" schemaLocation="`+file+`"/>`)
		}
		write(name, text)
		add(name, namespace)
	}
	write("w3c.xsd", eventingSchema)
	add("w3c.xsd", target.FindStringSubmatch(eventingSchema)[1])
	write("soap12.xsd", fmt.Sprintf(envelopesSchema, soap12, fault12, imports))
	write("soap11.xsd", fmt.Sprintf(envelopesSchema, soap11, fault11, `<xs:import namespace="`+soap12+`" schemaLocation="soap12.xsd"/>`+"\n"+imports))
	return filepath.Join(dir, "soap11.xsd")
}

var target = regexp.MustCompile(`targetNamespace="([^"]*)"`)

// overHTTP sends a request over HTTP, with headers by name and value, and returns the response.
func overHTTP(t *testing.T, client *http.Client, method, url, body string, headers ...string) (status int, header http.Header, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(data)
}

// soapService is a proxy with the accounts crm and other, a token of crm that observes, and no trusted peer.
type soapService struct {
	*running

	plain, secure, api string // URLs: over HTTP and TLS, and on a listener of the API
	token              string
}

func serveSOAP(t *testing.T) soapService {
	t.Helper()
	dir := t.TempDir()
	file, port := filepath.Join(dir, "accounts"), freePort(t)
	account(t, file, "crm", soapPassword)
	account(t, file, "other", soapPassword)
	token := addToken(t, filepath.Join(dir, "tokens"), "crm", "--scope", "observe")
	r := serve(t, fmt.Sprintf(`application-sessions: {xml: optional, accounts: %s, tokens-file: %s}
api: {listen: [{transport: tcp, address: "127.0.0.1:%d"}], soap: {private-sinks: true}}
grants: [{who: "*", control: ["*"], dial: ["*"]}]
`, file, filepath.Join(dir, "tokens"), port))
	return soapService{r, fmt.Sprintf("http://127.0.0.1:%d", r.xmlPort), fmt.Sprintf("https://127.0.0.1:%d", r.xmlTLSPort), fmt.Sprintf("http://127.0.0.1:%d/soap", port), token}
}

const soapPassword = "s3cret <&>"

// Programs with the SOAP of Python (zeep) and PHP are made from the served description, over HTTP and TLS, and on the API's listener, in SOAP 1.1 and 1.2:
// they monitor, call, answer, hold, consult, transfer and take snapshots, get events by pull and by push, faults with their
// detail, and sessions by header block and cookie. Every envelope that the proxy sends them is valid against the schemas that
// it serves.
func TestForeignSOAP(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]func(t *testing.T) (interpreter, script string){
		"zeep": func(t *testing.T) (string, string) { return pythonWith(t, "zeep"), "client.py" },
		"php": func(t *testing.T) (string, string) {
			php := tool(t, "php")
			if out, _ := exec.CommandContext(t.Context(), php, "-m").Output(); !bytes.Contains(out, []byte("\nsoap\n")) {
				return tool(t, "php-soap"), ""
			}
			return php, "client.php"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			interpreter, script := client(t)
			script, err := filepath.Abs(filepath.Join("testdata", "soap", script))
			if err != nil {
				t.Fatal(err)
			}
			for _, way := range []string{"HTTP", "TLS", "API"} {
				r := serveSOAP(t)
				envelopes := t.TempDir()
				schemas := soapSchema(t, r.plain, 3)
				url := map[string]string{"HTTP": r.plain, "TLS": r.secure, "API": r.api}[way]
				certificate := ""
				if way == "TLS" {
					certificate = filepath.Join(r.dir, "cert.pem")
				}
				p := start(t, interpreter, script, url, certificate, soapPassword, envelopes)
				if err := p.wait(2 * patience); err != nil || !strings.Contains(p.out.String(), "done") {
					t.Fatalf("%s: %v\n%s", url, err, p.out)
				}
				validateEnvelopes(t, schemas, envelopes, 15)
				r.stop()
			}
		})
	}
}

// validateEnvelopes validates the envelopes in a folder, of which there must be enough.
func validateEnvelopes(t *testing.T, schemas, folder string, enough int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.xml"))
	if err != nil || len(files) < enough {
		t.Fatalf("%d envelopes, %v", len(files), err)
	}
	docs := map[string][]byte{}
	for _, file := range files {
		if docs[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	schema.ValidateBy(t, schemas, docs)
}

// A program in C++ whose classes gSOAP has made from the served description monitors, calls, answers, gets events and a fault.
// Compiling the whole description takes minutes: the program has the operations that it needs.
func TestGSOAP(t *testing.T) {
	t.Parallel()
	tool(t, "wsdl2h")
	tool(t, "soapcpp2")
	compiler := tool(t, "g++")
	if _, err := os.Stat("/usr/include/stdsoap2.h"); err != nil {
		tool(t, "libgsoap-dev")
	}
	program, err := os.ReadFile(filepath.Join("testdata", "soap", "client.cpp"))
	if err != nil {
		t.Fatal(err)
	}
	r := serveSOAP(t)
	url := r.plain
	_, _, description := overHTTP(t, http.DefaultClient, "GET", url+"/csta/ed3?wsdl", "")
	dir := t.TempDir()
	_ = os.Mkdir(filepath.Join(dir, "xsd"), 0o700)
	files := map[string]string{
		"csta.wsdl": cutDown(description, "MonitorStart", "MakeCall", "AnswerCall", "HoldCall", "GetEvents"), "client.cpp": string(program),
		"typemap.dat": "csta = \"http://www.ecma-international.org/standards/ecma-323/csta/ed3\"\nown = \"urn:tr87proxy:csta-soap\"\n",
	}
	for _, name := range []string{"xsd/ed3.xsd", "xsd/session.xsd"} {
		_, _, files[name] = overHTTP(t, http.DefaultClient, "GET", url+"/csta/"+name, "")
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, command := range [][]string{
		{"wsdl2h", "-O4", "-t", "typemap.dat", "-o", "csta.h", "csta.wsdl"},
		{"soapcpp2", "-C", "-j", "-w", "-x", "-L", "csta.h"},
		{compiler, "-O0", "-w", "-o", "client", "client.cpp", "soapC.cpp", "soapCallControlBindingProxy.cpp", "-lgsoap++"},
		{"./client", url + "/csta/ed3", soapPassword},
	} {
		run := exec.CommandContext(t.Context(), command[0], command[1:]...)
		run.Dir = dir
		out, err := run.CombinedOutput()
		if last := command[0] == "./client"; err != nil || last && !bytes.Contains(out, []byte("done")) {
			t.Fatalf("%v: %v\n%s", command, err, out[max(0, len(out)-2000):])
		}
	}
	r.stop()
}

// cutDown returns a description with some operations and the first events only.
func cutDown(description string, operations ...string) string {
	some := strings.Join(operations, "|")
	keep := func(text, unit string, needed *regexp.Regexp) string {
		return regexp.MustCompile(unit).ReplaceAllStringFunc(text, func(found string) string {
			if needed.MatchString(found) {
				return found
			}
			return ""
		})
	}
	description = keep(description, `(?s)<wsdl:operation .*?</wsdl:operation>\n`, regexp.MustCompile(`^<wsdl:operation name="(`+some+`)"`))
	for _, kind := range []string{"portType", "binding"} {
		description = keep(description, `(?s)<wsdl:`+kind+` .*?</wsdl:`+kind+`>\n`, regexp.MustCompile(`<wsdl:operation `))
	}
	var bindings, messages []string
	for _, found := range regexp.MustCompile(`<wsdl:binding name="(\w+)"`).FindAllStringSubmatch(description, -1) {
		bindings = append(bindings, found[1])
	}
	description = keep(description, `<wsdl:port .*</wsdl:port>\n`, regexp.MustCompile(`binding="tns:(`+strings.Join(bindings, "|")+`)"`))
	for _, found := range regexp.MustCompile(` message="tns:(\w+)"`).FindAllStringSubmatch(description, -1) {
		messages = append(messages, found[1])
	}
	description = keep(description, `<wsdl:message .*\n`, regexp.MustCompile(`name="(`+strings.Join(messages, "|")+`)"`))
	return keep(description, `<xs:element ref="csta:\w+"/>`, regexp.MustCompile(`csta:(Delivered|Established)Event"`))
}

// On the API's listener, who a client is and what it may do is as for the other paths: a token that observes can monitor and
// cannot call; without credentials, with a token that there is not, and for a page in a browser, nothing is served but the
// description.
func TestSOAPOnAPI(t *testing.T) {
	t.Parallel()
	r := serveSOAP(t)
	url, watching := r.api, "Bearer "+r.token
	const monitor = `<MonitorStart xmlns="` + uacsta.NamespaceED3 + `"><monitorObject><deviceObject>1001</deviceObject></monitorObject></MonitorStart>`
	const call = `<MakeCall xmlns="` + uacsta.NamespaceED3 + `"><callingDevice>1000</callingDevice><calledDirectoryNumber>1001</calledDirectoryNumber></MakeCall>`
	for name, tt := range map[string]struct {
		body    string
		headers []string
		status  int
		want    string
	}{
		"no credentials":   {monitor, nil, 401, ""},
		"no such token":    {monitor, []string{"Authorization", "Bearer tr87_x"}, 401, ""},
		"observes":         {monitor, []string{"Authorization", watching}, 200, "monitorCrossRefID"},
		"observes only":    {call, []string{"Authorization", watching}, 500, "privilegeViolation"},
		"an account":       {monitor, []string{"Authorization", strings.TrimSpace(strings.TrimPrefix(basic, "Authorization: "))}, 200, "monitorCrossRefID"},
		"a foreign page":   {monitor, []string{"Authorization", watching, "Origin", "https://evil.example"}, 403, ""},
		"another protocol": {"{}", []string{"Authorization", watching, "Content-Type", "application/json"}, 415, "text/xml"},
	} {
		envelope := `<s:Envelope xmlns:s="` + soap11 + `"><s:Body>` + tt.body + `</s:Body></s:Envelope>`
		if status, _, text := overHTTP(t, http.DefaultClient, "POST", url+"/csta/ed3", envelope, append([]string{"Content-Type", "text/xml"}, tt.headers...)...); status != tt.status || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if status, _, text := overHTTP(t, http.DefaultClient, "GET", url+"/csta/ed3?wsdl", ""); status != http.StatusOK || !strings.Contains(text, `<soap:address location="`+url+`/csta/ed3"/>`) {
		t.Errorf("the description: %d", status)
	}
	r.stop()
}

// The text of a fault says which parameter is wrong, and not which rule refuses a request. Faults are valid in both versions.
func TestSOAPReasons(t *testing.T) {
	t.Parallel()
	r := serve(t, "trusted: [{address: 127.0.0.1}]\nrules: [{name: secret-rule, devices: [\"1003\"], deny: true}]\ngrants: [{who: \"*\", control: [\"100?\"], dial: [\"*\"]}]\n")
	url, folder := fmt.Sprintf("http://127.0.0.1:%d", r.xmlPort), t.TempDir()
	call := func(from, to string) string {
		return `<MakeCall xmlns="` + uacsta.NamespaceED3 + `"><callingDevice>` + from + `</callingDevice><calledDirectoryNumber>` + to + `</calledDirectoryNumber></MakeCall>`
	}
	for name, tt := range map[string]struct{ body, want string }{
		"not a number":       {call("a&lt;b\ufffd", "1001"), ">operation/invalidCallingDeviceID: callingDevice "},
		"not dialable":       {call("1000", "x&lt;"), ">operation/invalidCalledDeviceID: calledDirectoryNumber "},
		"an element twice":   {strings.Replace(call("1000", "1001"), "<calledD", "<callingDevice>1001</callingDevice><calledD", 1), ">operation/invalidParameterValue: "},
		"an element missing": {`<MakeCall xmlns="` + uacsta.NamespaceED3 + `"><callingDevice>1000</callingDevice></MakeCall>`, ">operation/invalidParameterValue: "},
		"a rule":             {call("1003", "1001"), ">operation/privilegeViolationCallingDevice<"},
		"no grant":           {call("1100", "1001"), ">operation/privilegeViolationCallingDevice<"},
	} {
		for version, media := range map[string]string{soap11: "text/xml", soap12: "application/soap+xml"} {
			status, _, text := overHTTP(t, http.DefaultClient, "POST", url+"/csta", `<s:Envelope xmlns:s="`+version+`"><s:Body>`+tt.body+`</s:Body></s:Envelope>`, "Content-Type", media)
			if status != http.StatusInternalServerError || !strings.Contains(text, tt.want) || strings.Contains(text, "secret-rule") {
				t.Errorf("%s: %d %s", name, status, text)
			}
			if err := os.WriteFile(filepath.Join(folder, name+media[:4]+".xml"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	validateEnvelopes(t, soapSchema(t, url, 3), folder, 12)
	r.stop()
}
