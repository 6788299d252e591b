package uacsta

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/beevik/etree"
)

// The limits of a document, for every peer and transport.
const (
	MaxSize       = 64 << 10 // octets, as received
	MaxDepth      = 32       // nested elements
	MaxElements   = 4096     // with comments and instructions; a tree takes many times the memory of its document
	MaxAttributes = 32       // of one element, with namespace declarations
)

// The reasons to refuse a document, for errors.Is. The text of an error also names the octet.
var (
	ErrTooLarge          = errors.New("document larger")
	ErrTooDeep           = errors.New("elements nested deeper than 32")
	ErrTooManyElements   = errors.New("too many elements")
	ErrTooManyAttributes = errors.New("more than 32 attributes on an element")
	ErrDocType           = errors.New("document type declarations are not accepted")
	ErrEntity            = errors.New("only the five predefined entities are accepted")
	ErrEncoding          = errors.New("only UTF-8 and ISO-8859-1 are accepted")
	ErrSyntax            = errors.New("not well-formed XML")
)

// scanner parses one document into an etree tree. It does not use encoding/xml, which does not limit
// the depth, resolves prefixes in a way that cannot be written back unchanged, and is several times
// slower.
type scanner struct {
	src string
	pos int

	nodes, most int // of the tree, so far and at most
	// The parts of the tree come from these stores, to save allocations.
	elements store[etree.Element]
	texts    store[etree.CharData]
	tokens   store[etree.Token]
}

// firstRoom is how many elements are allocated first: as many as most messages have.
const firstRoom = 64

// store allocates the parts of a tree. It allocates a few at first and later as many again as are in
// use, so that the memory stays in proportion to what has been accepted of a document.
type store[T any] struct {
	free        []T
	given, most int
}

// take returns n consecutive parts.
func (s *store[T]) take(n int) []T {
	if len(s.free) < n {
		s.free = make([]T, max(n, min(s.most-s.given, max(s.given, firstRoom))))
	}
	taken := s.free[:n:n]
	s.free = s.free[n:]
	s.given += n
	return taken
}

// prepare limits the size of the tree: an element for each opening tag, a text in each, and a place
// for both.
func (s *scanner) prepare() {
	n := min(strings.Count(s.src, "<")-strings.Count(s.src, "</"), s.most)
	s.elements.most, s.texts.most, s.tokens.most = n, n, 2*n
}

// node counts a part of the tree other than text.
func (s *scanner) node() error {
	if s.nodes++; s.nodes > s.most {
		return s.fail(ErrTooManyElements, "")
	}
	return nil
}

// newText returns a text from the store.
func (s *scanner) newText(value string) *etree.CharData {
	t := &s.texts.take(1)[0]
	t.Data = value
	return t
}

// room allocates room for the children of an element that has just been opened: for one if a text
// follows, for some if elements do.
func (s *scanner) room(e *etree.Element) {
	switch rest := s.src[s.pos:]; {
	case strings.HasPrefix(rest, "</"):
	case strings.HasPrefix(rest, "<"):
		e.Child = s.tokens.take(4)[:0]
	default:
		e.Child = s.tokens.take(1)[:0]
	}
}

func (s *scanner) fail(err error, format string, args ...any) error {
	if format == "" {
		return fmt.Errorf("octet %d: %w", s.pos, err)
	}
	return fmt.Errorf("octet %d: %w: %s", s.pos, err, fmt.Sprintf(format, args...))
}

// scan parses a document of at most a number of elements, comments and instructions, and returns its
// root element.
func scan(data []byte, most int) (*etree.Element, error) { return scanWithin(data, MaxSize, most) }

// scanWithin is scan for a document of at most size octets.
func scanWithin(data []byte, size, most int) (*etree.Element, error) {
	if len(data) > size {
		return nil, tooLarge(size)
	}
	text, err := decodeText(data)
	if err != nil {
		return nil, err
	}
	s := &scanner{src: text, most: most}
	if err := s.checkCharacters(); err != nil {
		return nil, err
	}
	s.prepare()
	return s.document()
}

func tooLarge(size int) error { return fmt.Errorf("%w than %d octets", ErrTooLarge, size) }

// decodeText converts a document to UTF-8 by its byte order mark and declaration.
func decodeText(data []byte) (string, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return "", fmt.Errorf("%w, not UTF-16", ErrEncoding)
	}
	switch enc := strings.ToLower(declaredEncoding(data)); enc {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		if !utf8.Valid(data) {
			return "", fmt.Errorf("%w: octets that are not UTF-8", ErrEncoding)
		}
		return string(data), nil
	case "iso-8859-1", "iso8859-1", "latin1":
		var b strings.Builder
		b.Grow(len(data) + len(data)/8)
		for _, c := range data {
			b.WriteRune(rune(c))
		}
		return b.String(), nil
	default:
		return "", fmt.Errorf("%w, not %s", ErrEncoding, strconv.Quote(enc))
	}
}

func declaredEncoding(data []byte) string {
	if !bytes.HasPrefix(data, []byte("<?xml")) {
		return ""
	}
	end := bytes.Index(data, []byte("?>"))
	if end < 0 {
		return ""
	}
	decl := string(data[:end])
	i := strings.Index(decl, "encoding")
	if i < 0 {
		return ""
	}
	rest := strings.TrimLeft(decl[i+len("encoding"):], " \t\r\n=")
	if rest == "" || (rest[0] != '"' && rest[0] != '\'') {
		return ""
	}
	value, _, _ := strings.Cut(rest[1:], rest[:1])
	return value
}

// checkCharacters refuses characters that XML 1.0 does not allow.
func (s *scanner) checkCharacters() error {
	for i := 0; i < len(s.src); i++ {
		if c := s.src[i]; c >= 0x20 && c < utf8.RuneSelf || c == '\n' {
			continue
		}
		r, size := utf8.DecodeRuneInString(s.src[i:])
		if !isChar(r) {
			s.pos = i
			return s.fail(ErrSyntax, "character %U is not allowed", r)
		}
		i += size - 1
	}
	return nil
}

func isChar(r rune) bool {
	return r >= 0x20 && r < 0xD800 || r == '\t' || r == '\n' || r == '\r' ||
		r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}

func (s *scanner) document() (*etree.Element, error) {
	var root, open *etree.Element
	depth := 0
	for s.pos < len(s.src) {
		if s.src[s.pos] != '<' {
			if err := s.text(open); err != nil {
				return nil, err
			}
			continue
		}
		rest := s.src[s.pos:]
		switch {
		case strings.HasPrefix(rest, "<?"), strings.HasPrefix(rest, "<!"):
			if err := s.markup(open); err != nil {
				return nil, err
			}
		case strings.HasPrefix(rest, "</"):
			if err := s.endTag(open); err != nil {
				return nil, err
			}
			open = open.Parent()
			depth--
		default:
			if open == nil && root != nil {
				return nil, s.fail(ErrSyntax, "a second root element")
			}
			if depth++; depth > MaxDepth {
				return nil, s.fail(ErrTooDeep, "")
			}
			if err := s.node(); err != nil {
				return nil, err
			}
			e, empty, err := s.startTag()
			if err != nil {
				return nil, err
			}
			if open != nil {
				open.AddChild(e)
			} else {
				root = e
			}
			if empty {
				depth--
			} else {
				open = e
			}
		}
	}
	switch {
	case root == nil:
		return nil, s.fail(ErrSyntax, "no element")
	case open != nil:
		return nil, s.fail(ErrSyntax, "the document ends inside an element")
	}
	return root, nil
}

// text parses character data up to the next markup.
func (s *scanner) text(open *etree.Element) error {
	end := strings.IndexByte(s.src[s.pos:], '<')
	if end < 0 {
		end = len(s.src) - s.pos
	}
	raw := s.src[s.pos : s.pos+end]
	if open == nil {
		if strings.Trim(raw, " \t\r\n") != "" {
			return s.fail(ErrSyntax, "text outside the root element")
		}
		s.pos += end
		return nil
	}
	value, err := s.unescape(raw)
	if err != nil {
		return err
	}
	open.AddChild(s.newText(value))
	s.pos += end
	return nil
}

// unescape resolves character references and the predefined entities, and normalises line ends to \n
// (XML 1.0 2.11).
func (s *scanner) unescape(raw string) (string, error) {
	if strings.IndexByte(raw, '&') < 0 && strings.IndexByte(raw, '\r') < 0 {
		return raw, nil
	}
	raw = strings.ReplaceAll(strings.ReplaceAll(raw, "\r\n", "\n"), "\r", "\n")
	var b strings.Builder
	for {
		before, after, found := strings.Cut(raw, "&")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, rest, found := strings.Cut(after, ";")
		if !found {
			return "", s.fail(ErrSyntax, "an & that begins no reference")
		}
		r, err := s.reference(name)
		if err != nil {
			return "", err
		}
		b.WriteRune(r)
		raw = rest
	}
}

func (s *scanner) reference(name string) (rune, error) {
	switch name {
	case "lt":
		return '<', nil
	case "gt":
		return '>', nil
	case "amp":
		return '&', nil
	case "apos":
		return '\'', nil
	case "quot":
		return '"', nil
	}
	digits, ok := strings.CutPrefix(name, "#")
	if !ok {
		return 0, s.fail(ErrEntity, "")
	}
	base := 10
	if hex, ok := strings.CutPrefix(digits, "x"); ok {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || n > unicode.MaxRune || !isChar(rune(n)) {
		return 0, s.fail(ErrSyntax, "a character reference to no character")
	}
	return rune(n), nil
}

func (s *scanner) instruction(open *etree.Element) error {
	body, _, found := strings.Cut(s.src[s.pos+len("<?"):], "?>")
	target, inst, _ := strings.Cut(body, " ")
	switch {
	case !found:
		return s.fail(ErrSyntax, "a processing instruction without end")
	case target == "":
		return s.fail(ErrSyntax, "a processing instruction without target")
	case open != nil && strings.EqualFold(target, "xml"):
		return s.fail(ErrSyntax, "an XML declaration inside the document")
	case open != nil:
		open.AddChild(etree.NewProcInst(target, inst))
	}
	s.pos += len("<?") + len(body) + len("?>")
	return nil
}

// markup parses an instruction, a comment or a CDATA section.
func (s *scanner) markup(open *etree.Element) error {
	if open != nil {
		if err := s.node(); err != nil {
			return err
		}
	}
	rest := s.src[s.pos:]
	if strings.HasPrefix(rest, "<?") {
		return s.instruction(open)
	}
	if body, ok := strings.CutPrefix(rest, "<!--"); ok {
		text, _, found := strings.Cut(body, "-->")
		if !found || strings.Contains(text, "--") || strings.HasSuffix(text, "-") {
			return s.fail(ErrSyntax, "a faulty comment")
		}
		if open != nil {
			open.AddChild(etree.NewComment(text))
		}
		s.pos += len("<!--") + len(text) + len("-->")
		return nil
	}
	if body, ok := strings.CutPrefix(rest, "<![CDATA["); ok {
		text, _, found := strings.Cut(body, "]]>")
		if !found || open == nil {
			return s.fail(ErrSyntax, "a faulty CDATA section")
		}
		open.AddChild(etree.NewCData(text))
		s.pos += len("<![CDATA[") + len(text) + len("]]>")
		return nil
	}
	if strings.HasPrefix(rest, "<!DOCTYPE") || strings.HasPrefix(rest, "<!ENTITY") {
		return s.fail(ErrDocType, "")
	}
	return s.fail(ErrSyntax, "unknown markup")
}

func (s *scanner) endTag(open *etree.Element) error {
	s.pos += len("</")
	name, err := s.name()
	if err != nil {
		return err
	}
	if open == nil || name != qualified(open.Space, open.Tag) {
		return s.fail(ErrSyntax, "an end tag that fits no open element")
	}
	s.space()
	if !s.take('>') {
		return s.fail(ErrSyntax, "an end tag without >")
	}
	return nil
}

func (s *scanner) startTag() (e *etree.Element, empty bool, err error) {
	s.pos++ // <
	name, err := s.name()
	if err != nil {
		return nil, false, err
	}
	e = &s.elements.take(1)[0]
	e.Space, e.Tag = splitName(name)
	for {
		blank := s.space()
		switch {
		case s.take('>'):
			s.room(e)
			return e, false, nil
		case strings.HasPrefix(s.src[s.pos:], "/>"):
			s.pos += 2
			return e, true, nil
		case !blank:
			return nil, false, s.fail(ErrSyntax, "a faulty start tag")
		}
		if len(e.Attr) == MaxAttributes {
			return nil, false, s.fail(ErrTooManyAttributes, "")
		}
		if err := s.attribute(e); err != nil {
			return nil, false, err
		}
	}
}

func (s *scanner) attribute(e *etree.Element) error {
	name, err := s.name()
	if err != nil {
		return err
	}
	space, key := splitName(name)
	for _, a := range e.Attr {
		if a.Space == space && a.Key == key {
			return s.fail(ErrSyntax, "an attribute given twice")
		}
	}
	s.space()
	if !s.take('=') {
		return s.fail(ErrSyntax, "an attribute without value")
	}
	s.space()
	if s.pos >= len(s.src) || (s.src[s.pos] != '"' && s.src[s.pos] != '\'') {
		return s.fail(ErrSyntax, "an attribute value without quotes")
	}
	quote := s.src[s.pos : s.pos+1]
	raw, _, found := strings.Cut(s.src[s.pos+1:], quote)
	if !found || strings.IndexByte(raw, '<') >= 0 {
		return s.fail(ErrSyntax, "a faulty attribute value")
	}
	value, err := s.unescape(raw)
	if err != nil {
		return err
	}
	e.Attr = append(e.Attr, etree.Attr{Space: space, Key: key, Value: value})
	s.pos += len(raw) + 2
	return nil
}

func (s *scanner) name() (string, error) {
	start := s.pos
	for s.pos < len(s.src) && asciiLetter(s.src[s.pos]) {
		s.pos++
	}
	if s.pos > start && s.pos < len(s.src) && strings.IndexByte(" >/=", s.src[s.pos]) >= 0 {
		return s.src[start:s.pos], nil // the usual case
	}
	s.pos = start
	for i, r := range s.src[start:] {
		if r == '_' || r == ':' || unicode.IsLetter(r) || i > 0 && (r == '-' || r == '.' || unicode.IsDigit(r) || r == 0xB7 || unicode.Is(unicode.Mn, r)) {
			continue
		}
		s.pos = start + i
		break
	}
	name := s.src[start:s.pos]
	if name == "" || name[0] == ':' || name[len(name)-1] == ':' || strings.Count(name, ":") > 1 {
		return "", s.fail(ErrSyntax, "a faulty name")
	}
	return name, nil
}

func asciiLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func (s *scanner) space() bool {
	start := s.pos
	for s.pos < len(s.src) {
		switch s.src[s.pos] {
		case ' ', '\t', '\r', '\n':
			s.pos++
			continue
		}
		break
	}
	return s.pos > start
}

func (s *scanner) take(c byte) bool {
	if s.pos < len(s.src) && s.src[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

func splitName(name string) (space, local string) {
	if i := strings.IndexByte(name, ':'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

func qualified(space, local string) string {
	if space == "" {
		return local
	}
	return space + ":" + local
}
