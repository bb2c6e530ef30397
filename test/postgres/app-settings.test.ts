import './app-settings.cases.js'
