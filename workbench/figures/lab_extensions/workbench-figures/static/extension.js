// JupyterLab loads an extension as a container of modules; this one has a single module, which adds a style sheet.
{
  const style = new URL("figure.css", document.currentScript.src).href;
  const activate = () => {
    const link = document.createElement("link");
    Object.assign(link, { rel: "stylesheet", href: style });
    document.head.append(link);
  };
  const plugin = { id: "workbench-figures:style", description: "Figures follow the theme.", autoStart: true, activate };
  window._JUPYTERLAB = window._JUPYTERLAB ?? {};
  window._JUPYTERLAB["workbench-figures"] = { init: () => {}, get: async () => () => ({ __esModule: true, default: plugin }) };
}
