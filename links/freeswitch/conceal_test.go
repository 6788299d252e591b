package freeswitch

import "testing"

// Passwords of logins and of events, and keys, are overwritten; all else stays, and no octet moves.
func TestConceal(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"auth ClueCon\n\n":        "auth *******\n\n",
		"userauth 7@pbx:pw:x\n\n": "userauth 7@pbx:****\n\n",
		"userauth 7@pbx\n\n":      "userauth *****\n\n",
		"api status\n\n":          "api status\n\n",
		"Content-Length: 9\n\nEvent-Name: CHANNEL_CREATE\nvariable_sip_auth_password: s%20\nvariable_dialed_user: 101\n": "Content-Length: 9\n\nEvent-Name: CHANNEL_CREATE\nvariable_sip_auth_password: ****\nvariable_dialed_user: 101\n",
		"variable_switch_r_sdp: v%3D0%0Aa%3Dcrypto%3A1%20inline%3AKEY\nvariable_vm-PIN: 12\na1-hash: f\nUnique-ID:\n":    "variable_switch_r_sdp: *************************************\nvariable_vm-PIN: **\na1-hash: *\nUnique-ID:\n",
	} {
		if got := string(conceal([]byte(in))); got != want || len(got) != len(in) {
			t.Errorf("%q becomes\n%q, want\n%q", in, got, want)
		}
	}
}
