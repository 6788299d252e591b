package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// realFreeSWITCH is the configuration of a FreeSWITCH with the telephones 1001 to 1003: ports of
// SIP and of the event socket, and its password.
const realFreeSWITCH = `<document type="freeswitch/xml">
<section name="configuration">
  <configuration name="modules.conf"><modules>
    <load module="mod_commands"/><load module="mod_dptools"/><load module="mod_dialplan_xml"/><load module="mod_db"/><load module="mod_conference"/>
    <load module="mod_valet_parking"/><load module="mod_tone_stream"/><load module="mod_sndfile"/><load module="mod_sofia"/><load module="mod_event_socket"/>
  </modules></configuration>
  <configuration name="switch.conf"><settings>
    <param name="loglevel" value="warning"/><param name="rtp-start-port" value="20000"/><param name="rtp-end-port" value="20400"/>
  </settings></configuration>
  <configuration name="event_socket.conf"><settings>
    <param name="listen-ip" value="127.0.0.1"/><param name="listen-port" value="%[2]d"/><param name="password" value="%[3]s"/>
  </settings></configuration>
  <configuration name="sofia.conf"><profiles><profile name="internal"><settings>
    <param name="sip-ip" value="127.0.0.1"/><param name="rtp-ip" value="127.0.0.1"/><param name="sip-port" value="%[1]d"/>
    <param name="dialplan" value="XML"/><param name="context" value="default"/><param name="auth-calls" value="true"/>
    <param name="force-register-domain" value="pbx.test"/><param name="force-register-db-domain" value="pbx.test"/><param name="force-subscription-domain" value="pbx.test"/>
    <param name="inbound-codec-prefs" value="PCMA,PCMU"/><param name="outbound-codec-prefs" value="PCMA,PCMU"/>
  </settings></profile></profiles></configuration>
  <configuration name="conference.conf"><profiles><profile name="default"><param name="rate" value="8000"/></profile></profiles></configuration>
</section>
<section name="dialplan"><context name="default">
  <extension name="telephones"><condition field="destination_number" expression="^(10\d\d)$">
    <action application="set" data="hangup_after_bridge=true"/><action application="bridge" data="user/$1@pbx.test"/>
  </condition></extension>
</context></section>
<section name="directory"><domain name="pbx.test">
  <params><param name="dial-string" value="{presence_id=${dialed_user}@${dialed_domain}}${sofia_contact(${dialed_user}@${dialed_domain})}"/></params>
  <groups><group name="all"><users>
    <user id="1001"><params><param name="password" value="secret1001"/></params><variables><variable name="user_context" value="default"/></variables></user>
    <user id="1002"><params><param name="password" value="secret1002"/></params><variables><variable name="user_context" value="default"/></variables></user>
    <user id="1003"><params><param name="password" value="secret1003"/></params><variables><variable name="user_context" value="default"/></variables></user>
  </users></group></groups>
</domain></section>
</document>
`

// A real FreeSWITCH with real telephones does what its recordings say, where there is one on this machine.
func TestRealFreeSWITCH(t *testing.T) {
	t.Parallel()
	long(t)
	program := optional(t, "freeswitch")
	dir, sip, events := t.TempDir(), freePort(t), freePort(t)
	if err := os.WriteFile(filepath.Join(dir, "freeswitch.xml"), fmt.Appendf(nil, realFreeSWITCH, sip, events, "NotClueCon"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, program, "-nf", "-nc", "-nonat", "-conf", dir, "-log", dir, "-db", dir, "-run", dir)
	r := serve(t, strings.Replace(toFreeSWITCH(fmt.Sprintf("127.0.0.1:%d", events)), "password: ClueCon", "password: NotClueCon", 1))
	c := talkTo(r, "1001", "1002", "1003")
	for _, number := range []string{"1001", "1002", "1003"} {
		baresip(t, sip, number, "secret"+number, "auto")
	}
	for _, device := range []string{"1001", "1002", "1003"} {
		c.await(device, "BackInService")
	}
	converse(t, r, `monitor 1001 1002 1003
call 1001 1002
expect 1001 Originated
expect 1002 Delivered state=alerting
expect 1002 Established state=connected
hold 1001
expect 1002 Held
retrieve 1001
expect 1002 Retrieved
consult 1001 1003
expect 1002 Held cause=consultation
expect 1003 Delivered state=alerting
expect 1001 Established
alternate 1001
expect 1002 Retrieved cause=alternate
alternate 1001
expect 1003 Retrieved cause=alternate
transfer 1001
expect 1001 Transfered state=null
expect 1002 Transfered state=connected
clear 1002
expect 1003 ConnectionCleared
`)
	r.stop()
}
