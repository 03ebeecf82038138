// Renders a Helm chart the way `helm template` does, with the engine that Helm uses (text/template and
// sprig), for tests on machines without Helm. Serves what this repository's chart needs: values files,
// named templates, include, required, fail, toYaml and .Files.Get; no dependencies, hooks or lookup.
//
//	render -chart DIR -release NAME -namespace NS [-values FILE]...
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// files is what templates see as .Files.
type files string

func (f files) Get(name string) string {
	content, err := os.ReadFile(filepath.Join(string(f), name))
	if err != nil {
		return ""
	}
	return string(content)
}

func readYaml(path string) (map[string]interface{}, error) {
	out := map[string]interface{}{}
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, &out)
	}
	return out, err
}

// merge lays `over` on `base`, as Helm does: maps by key, everything else whole; null removes.
func merge(base, over map[string]interface{}) {
	for key, value := range over {
		below, isMap := base[key].(map[string]interface{})
		above, both := value.(map[string]interface{})
		switch {
		case value == nil:
			delete(base, key)
		case isMap && both:
			merge(below, above)
		default:
			base[key] = value
		}
	}
}

func functions(root *template.Template) template.FuncMap {
	out := sprig.TxtFuncMap()
	delete(out, "env")
	delete(out, "expandenv")
	out["toYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	out["include"] = func(name string, data interface{}) (string, error) {
		var buffer bytes.Buffer
		err := root.ExecuteTemplate(&buffer, name, data)
		return buffer.String(), err
	}
	out["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, fmt.Errorf("%s", message)
		}
		return value, nil
	}
	return out
}

func load(chart string) (*template.Template, []string, error) {
	root := template.New("chart").Option("missingkey=zero")
	root.Funcs(functions(root))
	names, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil {
		return nil, nil, err
	}
	sort.Strings(names)
	manifests := []string{}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, nil, err
		}
		if _, err := root.New(filepath.Base(name)).Parse(string(text)); err != nil {
			return nil, nil, err
		}
		if strings.HasSuffix(name, ".yaml") {
			manifests = append(manifests, filepath.Base(name))
		}
	}
	return root, manifests, nil
}

func run() error {
	chart := flag.String("chart", "", "the chart's directory")
	release := flag.String("release", "roster", "name of the release")
	namespace := flag.String("namespace", "default", "namespace of the release")
	var valueFiles list
	flag.Var(&valueFiles, "values", "a file of values; may be repeated")
	flag.Parse()

	about, err := readYaml(filepath.Join(*chart, "Chart.yaml"))
	if err != nil {
		return err
	}
	values, err := readYaml(filepath.Join(*chart, "values.yaml"))
	if err != nil {
		return err
	}
	for _, file := range valueFiles {
		over, err := readYaml(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		merge(values, over)
	}
	data := map[string]interface{}{
		"Values": values,
		"Files":  files(*chart),
		"Chart": map[string]interface{}{
			"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
		"Release": map[string]interface{}{
			"Name": *release, "Namespace": *namespace, "Service": "Helm", "IsInstall": true},
	}
	root, manifests, err := load(*chart)
	if err != nil {
		return err
	}
	for _, name := range manifests {
		var buffer bytes.Buffer
		if err := root.ExecuteTemplate(&buffer, name, data); err != nil {
			return err
		}
		if text := strings.TrimSpace(buffer.String()); text != "" {
			fmt.Printf("---\n%s\n", text)
		}
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "render: %v\n", err)
		os.Exit(1)
	}
}
