import { render } from "preact";

import { App } from "./app.js";
import { html } from "./html.js";
import { startRouter } from "./router.js";
import { startSession } from "./session.js";
import { startTheme } from "./theme.js";

startTheme();
startRouter();
startSession();
render(html`<${App} />`, document.getElementById("app"));
