package uacsta

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/beevik/etree"
)

// Login is the name and password with which an application opens an application session. ECMA-354
// leaves their form to the two ends, within applicationSpecificInfo.
type Login struct{ User, Password string }

// LoginForm is how a login is written.
type LoginForm string

// The forms that peers are known to write.
const (
	LoginPlain LoginForm = "plain" // <user/><password/> directly in applicationSpecificInfo, without a namespace of their own
	LoginAvaya LoginForm = "avaya" // SessionLoginInfo in Avaya's namespace
)

const namespaceAvaya = "http://www.avaya.com/csta"

// The element names that peers write.
var (
	userNames     = []string{"user", "userName", "username", "loginName"}
	passwordNames = []string{"password"}
)

// Login returns the login in any known form and whether there is one. It finds the elements by their
// local names. With a password but no name, the name is the application ID.
func (a ApplicationInfo) Login() (Login, bool) {
	if a.ApplicationSpecificInfo.IsZero() {
		return Login{}, false
	}
	var l Login
	user, named := textBelow(a.ApplicationSpecificInfo.element, userNames, 3)
	password, secret := textBelow(a.ApplicationSpecificInfo.element, passwordNames, 3)
	if l.User, l.Password = strings.TrimSpace(user), password; l.User == "" {
		l.User = a.ApplicationID
	}
	return l, named || secret
}

// textBelow returns the text of the first element with one of these names, down to a limited depth.
func textBelow(e *etree.Element, names []string, levels int) (string, bool) {
	for _, c := range e.ChildElements() {
		for _, name := range names {
			if c.Tag == name {
				return c.Text(), true
			}
		}
		if levels > 1 {
			if text, found := textBelow(c, names, levels-1); found {
				return text, true
			}
		}
	}
	return "", false
}

// Info returns applicationSpecificInfo with the login.
func (l Login) Info(form LoginForm) Raw {
	e := etree.NewElement("applicationSpecificInfo")
	if form == LoginAvaya {
		info := add(e, "SessionLoginInfo")
		info.CreateAttr("xmlns", namespaceAvaya)
		addText(info, "userName", l.User)
		addText(info, "password", l.Password)
		return Raw{e}
	}
	for _, c := range []struct{ name, text string }{{"user", l.User}, {"password", l.Password}} {
		addText(e, c.name, c.text)
		e.ChildElements()[len(e.ChildElements())-1].CreateAttr("xmlns", "")
	}
	return Raw{e}
}

// Opening returns StartApplicationSession for editions in order of preference, with the login if it
// has a name.
func (l Login) Opening(application string, form LoginForm, duration time.Duration, editions ...Edition) StartApplicationSession {
	seconds := int(duration / time.Second)
	start := StartApplicationSession{ApplicationInfo: ApplicationInfo{ApplicationID: application}, RequestedSessionDuration: &seconds}
	if l.User != "" || l.Password != "" {
		start.ApplicationInfo.ApplicationSpecificInfo = l.Info(form)
	}
	for _, e := range editions {
		start.RequestedProtocolVersions = append(start.RequestedProtocolVersions, e.Namespace())
	}
	return start
}

// Granted reads the response to StartApplicationSession. It returns the session's identifier and
// duration, 0 for unlimited, or an error with the reason of a refusal.
func (m *Message) Granted() (id string, duration time.Duration, err error) {
	switch m.Name() {
	case NameStartApplicationSessionPosResponse:
		seconds, _ := strconv.Atoi(m.Text("actualSessionDuration"))
		return m.Text("sessionID"), time.Duration(min(max(seconds, 0), 365*24*3600)) * time.Second, nil
	case NameStartApplicationSessionNegResponse:
		return "", 0, fmt.Errorf("application session refused: %.200q", m.Text("errorCode/definedError")+m.Text("errorCode/applError"))
	}
	if refusal := m.Err(); refusal != nil {
		return "", 0, fmt.Errorf("application session refused: %w", refusal)
	}
	return "", 0, errors.New("no answer to StartApplicationSession, but " + m.Name())
}
