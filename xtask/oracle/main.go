// What BuildKit's own packages make of a Dockerfile, a word, or ignore patterns.
//
// Reads one JSON object a line and answers each with one line; the form of a Dockerfile's answer is
// that of `rbuild debug parse --json`.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

type object map[string]any

// putSome adds what is not empty.
func (o object) putSome(key string, value any) {
	switch v := value.(type) {
	case nil:
		return
	case string:
		if v == "" {
			return
		}
	case bool:
		if !v {
			return
		}
	case []string:
		if len(v) == 0 {
			return
		}
	case []object:
		if len(v) == 0 {
			return
		}
	case *uint64:
		if v == nil {
			return
		}
	}
	o[key] = value
}

type question struct {
	Dockerfile *string           `json:"dockerfile"`
	Word       *string           `json:"word"`
	Env        map[string]string `json:"env"`
	Escape     string            `json:"escape"`
	RawQuotes  bool              `json:"raw_quotes"`
	RawEscapes bool              `json:"raw_escapes"`
	NoQuotes   bool              `json:"ignore_quotes"`
	SkipUnset  bool              `json:"skip_unset"`
	Ignore     *string           `json:"ignore"`
	Glob       *string           `json:"glob"`
	Paths      []string          `json:"paths"`
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for {
		line, err := in.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) == 0 {
			if err != nil {
				return
			}
			continue
		}
		var q question
		if err := json.Unmarshal(line, &q); err != nil {
			panic(err)
		}
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(answer(&q)); err != nil {
			panic(err)
		}
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
}

func answer(q *question) (o object) {
	defer func() {
		if found := recover(); found != nil {
			o = object{"panic": found}
		}
	}()
	switch {
	case q.Dockerfile != nil:
		return dockerfile(*q.Dockerfile)
	case q.Word != nil:
		return word(q)
	case q.Ignore != nil:
		o = ignore(*q.Ignore, q.Paths)
		o.putSome("broken", broken(*q.Ignore))
		return o
	default:
		o = glob(*q.Glob, q.Paths)
		o.putSome("broken", broken(*q.Glob))
		return o
	}
}

func dockerfile(text string) object {
	o := object{"instructions_error": nil, "parse_error": nil}
	result, err := parser.Parse(strings.NewReader(text))
	if syntax, _, _, ok := parser.DetectSyntax([]byte(text)); ok {
		o.putSome("syntax", syntax)
	}
	if check, _, _, ok := parser.ParseDirective("check", []byte(text)); ok {
		o.putSome("check", check)
	}
	if err != nil {
		o["parse_error"] = located(err)
		return o
	}
	o["escape"] = string(result.EscapeToken)
	var warnings []object
	for _, w := range result.Warnings {
		warning := object{"rule": "", "message": w.Short}
		if w.Location != nil {
			warning["line"] = w.Location.Start.Line
			warning["end_line"] = w.Location.End.Line
		}
		warnings = append(warnings, warning)
	}
	o.putSome("parse_warnings", warnings)
	var nodes []object
	for _, n := range result.AST.Children {
		nodes = append(nodes, node(n))
	}
	o.putSome("nodes", nodes)
	o.putSome("dump", result.AST.Dump())
	stages, metaArgs, err := instructions.Parse(result.AST, nil)
	if err != nil {
		o["instructions_error"] = located(err)
		return o
	}
	var args, list []object
	for i := range metaArgs {
		args = append(args, command(&metaArgs[i]))
	}
	for _, s := range stages {
		list = append(list, stage(s))
	}
	o.putSome("meta_args", args)
	o.putSome("stages", list)
	return o
}

// located has the first line of an error's first place, and its last line.
func located(err error) object {
	o := object{"message": err.Error(), "line": 0}
	var found *parser.LocationError
	if errors.As(err, &found) && len(found.Locations) > 0 && len(found.Locations[0]) > 0 {
		ranges := found.Locations[0]
		o["line"] = ranges[0].Start.Line
		// Line 0 stands for no place.
		if ranges[0].Start.Line > 0 {
			o["end_line"] = ranges[len(ranges)-1].End.Line
		}
	}
	return o
}

func node(n *parser.Node) object {
	o := object{"cmd": n.Value, "start": n.StartLine, "end": n.EndLine, "original": n.Original}
	o.putSome("flags", n.Flags)
	o.putSome("json", n.Attributes["json"])
	o.putSome("args", flat(n))
	var heredocs []object
	for _, h := range n.Heredocs {
		heredocs = append(heredocs, object{
			"name": h.Name, "fd": h.FileDescriptor, "expand": h.Expand, "chomp": h.Chomp, "content": h.Content,
		})
	}
	o.putSome("heredocs", heredocs)
	o.putSome("comments", n.PrevComment)
	return o
}

// flat lists the arguments; those of a nested instruction behind its keyword.
func flat(n *parser.Node) []string {
	var all []string
	for next := n.Next; next != nil; next = next.Next {
		if len(next.Children) > 0 {
			for _, child := range next.Children {
				all = append(all, child.Value)
				all = append(all, flat(child)...)
			}
		} else {
			all = append(all, next.Value)
		}
	}
	return all
}

func stage(s instructions.Stage) object {
	commands := []object{}
	for _, c := range s.Commands {
		commands = append(commands, command(c))
	}
	o := object{"name": s.Name, "base": s.BaseName, "platform": s.Platform, "code": s.SourceCode, "commands": commands}
	o.putSome("doc", s.Comment)
	lines(o, s.Location)
	return o
}

func lines(o object, location []parser.Range) {
	if len(location) > 0 {
		o["line"] = location[0].Start.Line
		o["end_line"] = location[len(location)-1].End.Line
	}
}

func texts(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func command(c instructions.Command) object {
	o := object{"name": strings.ToLower(c.Name())}
	if coded, ok := c.(interface{ String() string }); ok {
		o["code"] = coded.String()
	}
	lines(o, c.Location())
	switch c := c.(type) {
	case *instructions.AddCommand:
		files(o, c.SourcesAndDest)
		o.putSome("chown", c.Chown)
		o.putSome("chmod", c.Chmod)
		o.putSome("link", c.Link)
		o.putSome("keep_git_dir", c.KeepGitDir != nil && *c.KeepGitDir)
		o.putSome("checksum", c.Checksum)
		if c.Unpack != nil {
			o["unpack"] = *c.Unpack
		}
		o.putSome("exclude", c.ExcludePatterns)
	case *instructions.CopyCommand:
		files(o, c.SourcesAndDest)
		o.putSome("from", c.From)
		o.putSome("chown", c.Chown)
		o.putSome("chmod", c.Chmod)
		o.putSome("link", c.Link)
		o.putSome("parents", c.Parents)
		o.putSome("exclude", c.ExcludePatterns)
	case *instructions.ArgCommand:
		args := []object{}
		for _, a := range c.Args {
			arg := object{"key": a.Key, "value": a.Value}
			arg.putSome("doc", a.Comment)
			args = append(args, arg)
		}
		o["args"] = args
	case *instructions.CmdCommand:
		commandLine(o, c.ShellDependantCmdLine)
	case *instructions.EntrypointCommand:
		commandLine(o, c.ShellDependantCmdLine)
	case *instructions.RunCommand:
		run(o, c)
	case *instructions.EnvCommand:
		o["env"] = pairs(c.Env)
	case *instructions.LabelCommand:
		o["labels"] = pairs(c.Labels)
	case *instructions.ExposeCommand:
		o["ports"] = texts(c.Ports)
	case *instructions.HealthCheckCommand:
		o["test"] = texts(c.Health.Test)
		o["interval_ns"] = c.Health.Interval
		o["timeout_ns"] = c.Health.Timeout
		o["start_period_ns"] = c.Health.StartPeriod
		o["start_interval_ns"] = c.Health.StartInterval
		o["retries"] = c.Health.Retries
	case *instructions.MaintainerCommand:
		o["maintainer"] = c.Maintainer
	case *instructions.OnbuildCommand:
		o["expression"] = c.Expression
	case *instructions.ShellCommand:
		o["shell"] = texts(c.Shell)
	case *instructions.StopSignalCommand:
		o["signal"] = c.Signal
	case *instructions.UserCommand:
		o["user"] = c.User
	case *instructions.VolumeCommand:
		o["volumes"] = texts(c.Volumes)
	case *instructions.WorkdirCommand:
		o["path"] = c.Path
	}
	return o
}

func pairs(list instructions.KeyValuePairs) []object {
	all := []object{}
	for _, p := range list {
		pair := object{"key": p.Key, "value": p.Value}
		pair.putSome("no_delim", p.NoDelim)
		all = append(all, pair)
	}
	return all
}

func files(o object, f instructions.SourcesAndDest) {
	o["sources"] = texts(f.SourcePaths)
	o["dest"] = f.DestPath
	var contents []object
	for _, c := range f.SourceContents {
		contents = append(contents, object{"path": c.Path, "data": c.Data, "expand": c.Expand})
	}
	o.putSome("contents", contents)
}

func commandLine(o object, c instructions.ShellDependantCmdLine) {
	o["cmdline"] = texts(c.CmdLine)
	o["prepend_shell"] = c.PrependShell
	var files []object
	for _, f := range c.Files {
		files = append(files, object{"name": f.Name, "data": f.Data, "chomp": f.Chomp})
	}
	o.putSome("files", files)
}

func run(o object, c *instructions.RunCommand) {
	commandLine(o, c.ShellDependantCmdLine)
	o.putSome("flags_used", c.FlagsUsed)
	o["network"] = instructions.GetNetwork(c)
	o["security"] = instructions.GetSecurity(c)
	// Only an expansion parses the mounts whole.
	err := c.Expand(func(word string) (string, error) { return word, nil })
	var mounts []object
	for _, m := range instructions.GetMounts(c) {
		mount := object{"type": m.Type}
		mount.putSome("from", m.From)
		mount.putSome("source", m.Source)
		mount.putSome("target", m.Target)
		mount.putSome("readonly", m.ReadOnly)
		if m.SizeLimit != 0 {
			mount["size"] = m.SizeLimit
		}
		mount.putSome("id", m.CacheID)
		mount.putSome("sharing", string(m.CacheSharing))
		mount.putSome("required", m.Required)
		if m.Env != nil {
			mount.putSome("env", *m.Env)
		}
		mount.putSome("mode", m.Mode)
		mount.putSome("uid", m.UID)
		mount.putSome("gid", m.GID)
		mounts = append(mounts, mount)
	}
	o.putSome("mounts", mounts)
	if err != nil {
		o["mounts_error"] = err.Error()
	}
	var devices []object
	for _, d := range instructions.GetDevices(c) {
		devices = append(devices, object{"Name": d.Name, "Required": d.Required})
	}
	o.putSome("devices", devices)
}

type values map[string]string

func (v values) Get(name string) (string, bool) {
	value, ok := v[name]
	return value, ok
}

func (v values) Keys() []string {
	var keys []string
	for key := range v {
		keys = append(keys, key)
	}
	return keys
}

func word(q *question) object {
	lex := shell.NewLex([]rune(q.Escape)[0])
	lex.RawQuotes = q.RawQuotes
	lex.RawEscapes = q.RawEscapes
	lex.SkipProcessQuotes = q.NoQuotes
	lex.SkipUnsetEnv = q.SkipUnset
	found, err := lex.ProcessWordWithMatches(*q.Word, values(q.Env))
	if err != nil {
		return object{"error": err.Error()}
	}
	return object{"result": found.Result}
}

func ignore(text string, paths []string) object {
	patterns, err := ignorefile.ReadAll(strings.NewReader(text))
	if err != nil {
		return object{"error": err.Error()}
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		return object{"error": err.Error()}
	}
	hidden := []any{}
	for _, p := range paths {
		match, err := matcher.MatchesOrParentMatches(p)
		if err != nil {
			return object{"error": err.Error()}
		}
		hidden = append(hidden, match)
	}
	return object{"hidden": hidden}
}

// glob asks what COPY's wildcards ask.
func glob(pattern string, paths []string) object {
	matches := []bool{}
	for _, p := range paths {
		match, err := filepath.Match(pattern, p)
		if err != nil {
			return object{"error": err.Error()}
		}
		matches = append(matches, match)
	}
	return object{"matches": matches}
}

// broken says whether a class or escape anywhere in the patterns is malformed, which matching alone
// finds out only where a name gets that far.
func broken(patterns string) bool {
	for _, line := range strings.Split(patterns, "\n") {
		line = filepath.Clean(strings.TrimSpace(line))
		for at, ch := range line {
			if ch != '[' && ch != '\\' {
				continue
			}
			if _, err := filepath.Match(line[at:], "x"); err != nil {
				return true
			}
		}
	}
	return false
}
