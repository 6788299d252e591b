package uacsta_test

import (
	"fmt"
	"testing"

	"github.com/tr87proxy/tr87proxy/uacsta"
)

func TestLogin(t *testing.T) {
	const start = `<StartApplicationSession xmlns="` + uacsta.NamespaceApplSession + `"><applicationInfo><applicationID>CRM</applicationID>%s</applicationInfo>` +
		`<requestedProtocolVersions><protocolVersion>` + uacsta.NamespaceED3 + `</protocolVersion></requestedProtocolVersions></StartApplicationSession>`
	for info, want := range map[string]uacsta.Login{
		`<applicationSpecificInfo><SessionLoginInfo xmlns="http://www.avaya.com/csta"><userName>u</userName><password>p &amp; q</password><sessionCleanupDelay>5</sessionCleanupDelay></SessionLoginInfo></applicationSpecificInfo>`: {"u", "p & q"},
		`<applicationSpecificInfo><user xmlns="">u</user><password xmlns="">p</password></applicationSpecificInfo>`:                                                                                                                  {"u", "p"},
		`<applicationSpecificInfo xmlns:x="urn:x"><x:login><x:credentials><x:password>p</x:password></x:credentials></x:login></applicationSpecificInfo>`:                                                                            {"CRM", "p"},
		`<applicationSpecificInfo><a><b><c><password>too deep</password></c></b></a></applicationSpecificInfo>`:                                                                                                                      {},
		`<applicationSpecificInfo><colour>blue</colour></applicationSpecificInfo>`:                                                                                                                                                   {},
		``: {},
	} {
		m, err := uacsta.Parse([]byte(fmt.Sprintf(start, info)))
		if err != nil {
			t.Fatal(err)
		}
		var s uacsta.StartApplicationSession
		if err := m.Decode(&s); err != nil {
			t.Fatal(err)
		}
		got, found := s.ApplicationInfo.Login()
		if found != (want != uacsta.Login{}) || found && got != want {
			t.Errorf("%s: %+v, %v", info, got, found)
		}
	}
	// what we write is read again, octets and all
	for _, form := range []uacsta.LoginForm{uacsta.LoginPlain, uacsta.LoginAvaya} {
		login := uacsta.Login{User: "u <&> ü", Password: " p\"'>]]> "}
		m, err := uacsta.Parse(uacsta.Encode(uacsta.StartApplicationSession{
			ApplicationInfo:           uacsta.ApplicationInfo{ApplicationID: "x", ApplicationSpecificInfo: login.Info(form)},
			RequestedProtocolVersions: []string{uacsta.NamespaceED3},
		}, uacsta.Edition3).Bytes())
		var s uacsta.StartApplicationSession
		if err == nil {
			err = m.Decode(&s)
		}
		if got, found := s.ApplicationInfo.Login(); err != nil || !found || got != login {
			t.Errorf("%s: %+v %v %v", form, got, found, err)
		}
	}
}
