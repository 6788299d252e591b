package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sippPhone is a telephone by sipp: it calls the queue 300, listens for a moment,
// and hangs up.
const sippPhone = `<?xml version="1.0" encoding="ISO-8859-1"?>
<scenario name="telephone">
%s
<pause milliseconds="200"/>
<send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
Max-Forwards: 70
[last_From:]
[last_To:]
Call-ID: [call_id]
CSeq: 5 BYE
Content-Length: 0

]]></send>
<recv response="200"/>
</scenario>`

// sippAsk is a request of sipp with the challenge that answers it; %[1]s is the method.
func sippAsk(method, target, to, extra, body string, cseq int) string {
	head := func(cseq int, credentials string) string {
		return fmt.Sprintf(`<send retrans="500"><![CDATA[
%[1]s sip:%[2]s SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
Max-Forwards: 70
From: <sip:[field0]@[remote_ip]>;tag=[pid]x[call_number]
To: <sip:%[3]s@[remote_ip]>
Call-ID: [call_id]
CSeq: %[4]d %[1]s
Contact: <sip:[field0]@[local_ip]:[local_port]>
%[5]s%[6]sContent-Length: [len]

%[7]s
]]></send>
`, method, target, to, cseq, extra, credentials, body)
	}
	ack := ""
	if method == "INVITE" {
		ack = fmt.Sprintf(`<send><![CDATA[
ACK sip:%s SIP/2.0
[last_Via:]
Max-Forwards: 70
[last_From:]
[last_To:]
Call-ID: [call_id]
CSeq: %d ACK
Content-Length: 0

]]></send>
`, target, cseq)
	}
	return head(cseq, "") + "<recv response=\"401\" auth=\"true\"/>\n" + ack + head(cseq+1, "[field1]\n")
}

// Fifty telephones of sipp register and call.
func TestSippTelephones(t *testing.T) {
	long(t)
	var extensions, users strings.Builder
	users.WriteString("SEQUENTIAL\n")
	for n := 200; n < 250; n++ {
		fmt.Fprintf(&extensions, "  - {number: \"%d\", sip: {password: secret%d}}\n", n, n)
		fmt.Fprintf(&users, "%d;[authentication username=%d password=secret%d]\n", n, n, n)
	}
	x := serveTelephones(t, extensions.String()+"  queues: [{number: \"300\", announcement: hello}]\n", "")
	sdp := "v=0\no=- 1 1 IN IP[local_ip_type] [local_ip]\ns=-\nc=IN IP[media_ip_type] [media_ip]\nt=0 0\nm=audio [media_port] RTP/AVP 8\n"
	register := `<?xml version="1.0" encoding="ISO-8859-1"?>` + "\n<scenario name=\"registration\">\n" + sippAsk("REGISTER", "[remote_ip]:[remote_port]", "[field0]", "Expires: 600\n", "", 1) + "<recv response=\"200\"/>\n</scenario>\n"
	call := fmt.Sprintf(sippPhone, sippAsk("INVITE", "300@[remote_ip]:[remote_port]", "300", "Content-Type: application/sdp\n", sdp, 3)+
		`<recv response="100" optional="true"/><recv response="180" optional="true"/><recv response="200" rrs="true"/>
<send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
Max-Forwards: 70
[last_From:]
[last_To:]
Call-ID: [call_id]
CSeq: 4 ACK
Content-Length: 0

]]></send>
`)
	dir := t.TempDir()
	for file, content := range map[string]string{"register.xml": register, "call.xml": call, "users.csv": users.String()} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	play := func(file string, more ...string) {
		p := start(t, tool(t, "sipp"), append([]string{
			fmt.Sprintf("127.0.0.1:%d", x.sip), "-sf", filepath.Join(dir, file), "-inf", filepath.Join(dir, "users.csv"), "-i", "127.0.0.1", "-p", fmt.Sprint(freePort(t)),
			"-m", "50", "-r", "25", "-l", "20", "-nostdin", "-trace_err", "-error_file", filepath.Join(dir, "errors"),
		}, more...)...)
		if err := p.wait(patience); err != nil {
			errors, _ := os.ReadFile(filepath.Join(dir, "errors"))
			t.Fatalf("%s: %v\n%s", file, err, errors[:min(len(errors), 2000)])
		}
	}
	play("register.xml")
	play("call.xml", "-auth_uri", fmt.Sprintf("300@127.0.0.1:%d", x.sip))
	if n := x.metric("tr87proxy_telephones_reachable"); n < 50 {
		t.Errorf("%v telephones are reachable", n)
	}
	waitFor(t, "the end of the calls", func() bool { return x.metric("tr87proxy_telephone_legs") == 0 })
	x.stop()
}
