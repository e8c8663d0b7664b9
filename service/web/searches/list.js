import { news } from "./news.js";

document.addEventListener("agon:fresh", () => news("search"));
